//! Texts at random, made of the files beside this one: none makes the parser fail, and what it takes is
//! printed so that it takes that for the same.

use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use twitcher::config::Defaults;
use twitcher::config::explain::explain;
use twitcher::config::parse::parse;
use twitcher::config::spec::WatchSpec;

use super::corpus;

/// What a text is changed with, besides pieces of other texts.
const PIECES: &[&str] = &[
    "",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "\n",
    "\r\n",
    "\t",
    "#",
    "\\",
    "\\u0000",
    "\\ud800",
    "\0",
    "\u{feff}",
    "漢",
    "😀",
    "-",
    "0x",
    "0",
    "1e999",
    "nan",
    "inf",
    "99999999999999999999",
    "1979-05-27",
    "true",
    "watch",
    "[[watch]]\n",
    "znode = '/a'\n",
    "command = 'x'\n",
    "enabled = false\n",
];

/// How long to go on: a minute where changes are judged, and a moment where somebody waits for all the tests.
fn time() -> Duration {
    let asked = std::env::var("TWITCHER_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(asked.unwrap_or(if std::env::var_os("CI").is_some() { 60 } else { 5 }))
}

/// Another one each time, unless it is named: it is told when a test fails.
fn seed() -> u64 {
    let asked = std::env::var("TWITCHER_FUZZ_SEED").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| since.as_micros() as u64)
    })
}

struct Maker {
    rng: TestRng,
    /// First so many that are right.
    corpus: Vec<Vec<u8>>,
    good: usize,
}

impl Maker {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let (good, broken) = (corpus("good"), corpus("broken"));
        let number = good.len();
        let corpus = good.into_iter().chain(broken).map(|(_, bytes)| bytes).collect();
        Self { rng, corpus, good: number }
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        (self.rng.next_u64() % end as u64) as usize
    }

    /// A place in a text, or its end: mostly where a line or a value begins, since elsewhere most changes
    /// make no TOML.
    fn place(&mut self, text: &[u8]) -> usize {
        let at = self.below(text.len() + 1);
        let marks: &[u8] = if self.below(2) == 0 { b"\n" } else { b"= '\"[,\n" };
        if self.below(4) == 0 {
            return at;
        }
        text[at..].iter().position(|byte| marks.contains(byte)).map_or(at, |more| at + more + 1)
    }

    fn piece(&mut self) -> Vec<u8> {
        let number = self.below(2 * PIECES.len());
        if let Some(piece) = PIECES.get(number) {
            return piece.as_bytes().to_vec();
        }
        let text = self.text();
        if self.below(2) == 0 {
            let lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
            return lines.get(self.below(lines.len() + 1)).copied().unwrap_or_default().to_vec();
        }
        let (one, other) = (self.place(&text), self.place(&text));
        text[one.min(other)..one.max(other)].to_vec()
    }

    /// One that is right more often than not, since what is nearly right gets further.
    fn text(&mut self) -> Vec<u8> {
        let from = if self.below(4) == 0 { self.below(self.corpus.len()) } else { self.below(self.good) };
        self.corpus[from].clone()
    }

    /// A text of the corpus with a few changes.
    fn next(&mut self) -> Vec<u8> {
        let mut text = self.text();
        for _ in 0..=self.below(2) * self.below(4) {
            let (from, piece) = (self.place(&text), self.piece());
            let to = match self.below(3) {
                0 => from,
                1 => (from + self.below(4)).min(text.len()),
                _ => self.place(&text).max(from),
            };
            text.splice(from..to, piece);
        }
        text
    }
}

fn read(text: &[u8]) -> Result<Vec<Arc<WatchSpec>>, Vec<String>> {
    match parse(Path::new("a.toml"), text, &Defaults::default(), "a") {
        Ok(watches) => Ok(watches.into_iter().map(|placed| placed.spec).collect()),
        Err(problems) => {
            Err(problems.iter().flat_map(|problem| [problem.to_string(), problem.one_line()]).collect())
        }
    }
}

/// Whether the text was one that is taken.
fn try_one(text: &[u8]) -> bool {
    match read(text) {
        Ok(watches) => {
            let explained: String = watches.iter().map(|spec| explain(spec)).collect();
            assert_eq!(read(explained.as_bytes()).as_ref(), Ok(&watches), "explained:\n{explained}");
            true
        }
        Err(problems) => {
            assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.is_empty()));
            false
        }
    }
}

#[test]
fn no_text_makes_the_parser_fail_and_what_it_takes_is_printed_as_the_same() {
    for (path, bytes) in [corpus("good"), corpus("broken")].concat() {
        assert!(catch_unwind(|| try_one(&bytes)).is_ok(), "{}", path.display());
    }
    let (seed, time) = (seed(), time());
    let mut maker = Maker::new(seed);
    let begun = Instant::now();
    let (mut tried, mut taken) = (0u64, 0u64);
    while begun.elapsed() < time {
        let text = maker.next();
        match catch_unwind(|| try_one(&text)) {
            Ok(was_taken) => taken += u64::from(was_taken),
            Err(_) => panic!(
                "TWITCHER_FUZZ_SEED={seed}, text number {tried}; keep it in good/ or broken/:\n{}",
                text.escape_ascii()
            ),
        }
        tried += 1;
    }
    println!("{tried} texts, {taken} of which were taken");
    // Else what is tried is not what people write.
    assert!(tried < 1000 || taken * 100 > tried, "{taken} of {tried}");
}
