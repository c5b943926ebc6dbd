//! What is wrong that was not before, and what no longer is. Pure.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use super::Problem;

/// What differs between what was wrong and what is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProblemNews {
    /// What was not wrong before, in the order in which it was found.
    pub new: Vec<Problem>,
    /// What something was wrong with, and nothing is any more, in path order.
    pub mended: Vec<PathBuf>,
}

impl ProblemNews {
    /// The news in what is wrong `now`. What is said of the same place in the same words is the same problem.
    #[must_use]
    pub fn since<'a>(before: &'a [Problem], now: &'a [Problem]) -> Self {
        let known: HashSet<_> = before.iter().map(said).collect();
        let files = |problems: &'a [Problem]| -> BTreeSet<&'a Path> {
            problems.iter().map(|problem| &*problem.file).collect()
        };
        Self {
            new: now.iter().filter(|problem| !known.contains(&said(problem))).cloned().collect(),
            mended: files(before).difference(&files(now)).map(|&file| file.to_owned()).collect(),
        }
    }
}

fn said(problem: &Problem) -> (&Path, Option<(usize, usize)>, &str, Option<&str>) {
    let Problem { file, place, message, help } = problem;
    (file, place.as_ref().map(|place| (place.line, place.column)), message, help.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::Source;

    fn problem(file: &str, text: &str) -> Problem {
        let at = text.find('!').unwrap_or_default();
        Source::new(Path::new(file), text).problem(at..at + 1, "wrong")
    }

    #[test]
    fn a_problem_is_news_when_it_comes_and_its_file_when_the_last_one_has_gone() {
        let all =
            |problems: &[(&str, &str)]| problems.iter().map(|(file, text)| problem(file, text)).collect();
        let looks: [Vec<Problem>; 4] = [
            all(&[("b", "!"), ("a", "!"), ("a", "\n!")]),
            all(&[("b", "!"), ("a", "\n!")]),
            // What stands above it is of another length, and it is another line.
            all(&[("b", " !"), ("a", "# more\n!")]),
            all(&[("c", "!")]),
        ];
        let mut before = Vec::new();
        let mut news = Vec::new();
        for now in looks {
            let ProblemNews { new, mended } = ProblemNews::since(&before, &now);
            let new: Vec<String> = new.iter().map(Problem::location).collect();
            news.push((new.join(" "), mended));
            before = now;
        }
        let said = |new: &str, mended: &[&str]| (new.to_owned(), mended.iter().map(PathBuf::from).collect());
        let expected =
            [said("b:1:1 a:1:1 a:2:1", &[]), said("", &[]), said("b:1:2", &[]), said("c:1:1", &["a", "b"])];
        assert_eq!(news, expected);
    }
}
