//! Walks a parsed TOML text and collects what is wrong with it, so that all problems of a file are seen
//! together. Knows tables and types of values; not what a key means.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duration;
use super::keys;
use super::problem::{Place, Problem, Source};
use super::words::{Words, listed};

/// A value with its place.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// Collects the problems of one text.
pub(super) struct Reader<'a> {
    source: Source<'a>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        Self { source, problems: Vec::new() }
    }

    /// The tables of the text, or `None` if it is not TOML.
    pub(super) fn document(&mut self) -> Option<DeTable<'a>> {
        let (document, errors) = DeTable::parse_recoverable(self.source.text);
        let mut lines = BTreeSet::new();
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            let mut problem = self.source.problem(span.clone(), plain_message(error.message()));
            problem.help = remedy(error.message(), self.source.text.get(span.start..).unwrap_or_default());
            // After a slip the TOML parser tries to go on, and says more about the same line than helps.
            if lines.insert(problem.place.as_ref().map_or(0, |place| place.line)) {
                self.problems.push(problem);
            }
        }
        errors.is_empty().then(|| document.into_inner())
    }

    /// Where this stands.
    pub(super) fn place(&self, span: Range<usize>) -> Place {
        self.source.place(span)
    }

    pub(super) fn report(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.problems.push(self.source.problem(span, message));
    }

    pub(super) fn report_with_help(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.problems.push(self.source.problem(span, message).with_help(help));
    }

    /// `given` is not a key of `table`: says which one was probably meant.
    pub(super) fn unknown_key(
        &mut self,
        span: Range<usize>,
        given: &str,
        table: &str,
        known: &[&'static str],
    ) {
        let message = format!("unknown key {given:?} in {table}");
        let nearest = keys::nearest(given, known.iter().copied());
        match keys::todays_word(given).filter(|word| known.contains(word)) {
            Some(word) => self.report_with_help(span, message, format!("it is called {word:?} now")),
            None => match nearest {
                Some(word) => self.report_with_help(span, message, format!("did you mean {word:?}?")),
                None => {
                    self.report_with_help(span, message, format!("the keys are {}", known.join(", ")));
                }
            },
        }
    }

    /// The value is of another type than `expected`.
    pub(super) fn wrong_type(&mut self, key: &str, value: &Value<'_>, expected: &str) {
        let found = type_name(value.get_ref());
        self.report(value.span(), format!("{key} must be {expected}, not {found}"));
    }

    pub(super) fn table<'v, 'i>(&mut self, key: &str, value: &'v Value<'i>) -> Option<&'v DeTable<'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(key, value, "a table");
        }
        table
    }

    pub(super) fn boolean(&mut self, key: &str, value: &Value<'_>) -> Option<bool> {
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            self.wrong_type(key, value, "true or false");
        }
        boolean
    }

    /// A text without NUL, which could not be handed to the system.
    pub(super) fn text(&mut self, key: &str, value: &Value<'_>) -> Option<String> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, value, "a text in quotes");
            return None;
        };
        if text.contains('\0') {
            self.report(value.span(), format!("{key} must not contain NUL"));
            return None;
        }
        Some(text.to_owned())
    }

    /// A whole number in `range`.
    pub(super) fn number(
        &mut self,
        key: &str,
        value: &Value<'_>,
        range: std::ops::RangeInclusive<u32>,
    ) -> Option<u32> {
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong_type(key, value, "a whole number");
            return None;
        };
        let number = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let message = format!("{key} must be from {} to {}", range.start(), range.end());
            self.report(value.span(), message);
        }
        number
    }

    /// One of `words`, in any case.
    pub(super) fn word<T: Copy>(&mut self, key: &str, value: &Value<'_>, words: Words<T>) -> Option<T> {
        let all = || words.iter().map(|(word, _)| *word);
        let Some(given) = value.get_ref().as_str() else {
            self.wrong_type(key, value, &listed(all()));
            return None;
        };
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(given)).map(|(_, value)| *value);
        if found.is_none() {
            let help = match keys::nearest(given, all()) {
                Some(word) => format!("did you mean {word:?}?"),
                None => format!("{key} is {}", listed(all())),
            };
            self.report_with_help(value.span(), format!("{given:?} is not a value of {key}"), help);
        }
        found
    }

    /// A number of seconds, or text.
    pub(super) fn duration(&mut self, key: &str, value: &Value<'_>) -> Option<Duration> {
        let (shown, parsed) = match value.get_ref() {
            DeValue::String(text) => (format!("{text:?}"), duration::from_text(text)),
            DeValue::Integer(integer) => {
                let seconds = i64::from_str_radix(integer.as_str(), integer.radix());
                // A number beyond i64 is too long or too negative, and its sign says which.
                let sign = if integer.as_str().starts_with('-') { -1.0 } else { 1.0 };
                let seconds = seconds.map_or(sign * f64::MAX, |seconds| seconds as f64);
                (integer.to_string(), duration::from_seconds(seconds))
            }
            DeValue::Float(float) => {
                let seconds = float.as_str().parse().unwrap_or(f64::NAN);
                (float.to_string(), duration::from_seconds(seconds))
            }
            DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                self.wrong_type(key, value, "a duration");
                return None;
            }
        };
        match parsed {
            Ok(duration) => Some(duration),
            Err(error @ duration::DurationError::Form) => {
                self.report_with_help(value.span(), format!("{key}: {shown} {error}"), duration::FORM);
                None
            }
            Err(error) => {
                self.report(value.span(), format!("{key} {error}"));
                None
            }
        }
    }

    /// A duration that is not zero.
    pub(super) fn positive_duration(&mut self, key: &str, value: &Value<'_>, help: &str) -> Option<Duration> {
        let duration = self.duration(key, value)?;
        if duration.is_zero() {
            self.report_with_help(value.span(), format!("{key} must be more than 0"), help);
            return None;
        }
        Some(duration)
    }

    /// An absolute path.
    pub(super) fn absolute_path(&mut self, key: &str, value: &Value<'_>) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(key, value)?);
        if !path.is_absolute() {
            self.report(value.span(), format!("{key} must be an absolute path: start it with '/'"));
            return None;
        }
        Some(path)
    }

    /// `Ok(value)` if nothing was wrong, else the problems in the order of the text.
    pub(super) fn finish<T>(mut self, value: T) -> Result<T, Vec<Problem>> {
        if self.problems.is_empty() {
            return Ok(value);
        }
        self.problems.sort_by_key(|problem| problem.place.as_ref().map_or(0, |place| place.span.start));
        Err(self.problems)
    }
}

/// The TOML parser's message in one line.
fn plain_message(message: &str) -> String {
    message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
}

/// What would be right in the place of `text`, of which the TOML parser says `message`, where people often slip.
fn remedy(message: &str, text: &str) -> Option<String> {
    let help = match text.chars().next() {
        Some('“' | '”' | '‘' | '’' | '„') => "put it in straight quotes: \"…\"",
        Some('0') if text[1..].starts_with(|c: char| c.is_ascii_digit()) => {
            "a number has no 0 in front; an octal mode is a text in quotes, such as \"022\""
        }
        _ if message.contains("key with no value") => {
            "write a key, '=' and a value, such as znode = \"/git/head\""
        }
        Some(_) | None => return None,
    };
    Some(help.to_owned())
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(true) => "true",
        DeValue::Boolean(false) => "false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
