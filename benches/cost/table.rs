//! What was measured, as a table in Markdown.

use std::fmt::{self, Display};

/// The rows, in the order in which they were measured.
#[derive(Default)]
pub struct Table(Vec<[String; 5]>);

impl Table {
    /// Adds a row: what was measured, what it came to, what it is compared with and what that came to, and the goal.
    pub fn row(&mut self, what: &str, figure: Figure, beside: &str, other: Figure, goal: &str) {
        let ratio = format!("{:.2}", figure.value / other.value);
        let beside = format!("{other} {beside}");
        self.0.push([what.to_owned(), figure.to_string(), beside, ratio, goal.to_owned()]);
    }

    /// Adds one that stands by itself.
    pub fn alone(&mut self, what: &str, figure: Figure, goal: &str) {
        self.0.push([what.to_owned(), figure.to_string(), String::new(), String::new(), goal.to_owned()]);
    }

    /// Adds one of what could not be measured.
    pub fn missing(&mut self, what: &str, why: &str) {
        self.0.push([
            what.to_owned(),
            "not measured".to_owned(),
            why.to_owned(),
            String::new(),
            String::new(),
        ]);
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | twitcher | beside it | ratio | goal |\n|---|---|---|---|---|")?;
        self.0.iter().try_for_each(|row| writeln!(f, "| {} |", row.join(" | ")))
    }
}

/// A number with its unit.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    value: f64,
    unit: &'static str,
}

/// `value` of this unit, which may be empty.
pub fn figure(value: f64, unit: &'static str) -> Figure {
    Figure { value, unit }
}

impl Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = match self.value {
            value if value >= 100.0 => 0,
            value if value >= 10.0 => 1,
            _ => 2,
        };
        write!(f, "{:.places$}{}{}", self.value, if self.unit.is_empty() { "" } else { " " }, self.unit)
    }
}

/// The value below which this part of the samples is, from 0 to 1.
pub fn quantile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

/// The one in the middle.
pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}
