//! What is watched and how: the znodes, and sixty watches of all types, modes and ways to load, the same on
//! every host.

use std::fmt::Write;
use std::path::Path;

use super::child::Temper;

/// How many watches there are on each host.
pub const WATCHES: usize = 60;

/// How many of them are in one file.
pub const A_FILE: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A znode whose contents are written.
    Data,
    /// The same, and it is deleted and made again.
    Visitor,
    /// A znode whose children come and go.
    Parent,
    /// A znode that gets sequential children.
    Queue,
}

impl Kind {
    pub fn watch_type(self) -> &'static str {
        match self {
            Self::Data | Self::Visitor => "data",
            Self::Parent => "children",
            Self::Queue => "newest-child",
        }
    }
}

/// Every znode, with its path.
pub fn znodes() -> Vec<(String, Kind)> {
    let of = |kind, count: usize, letter| (0..count).map(move |n| (format!("/{letter}{n}"), kind));
    of(Kind::Data, 20, 'd')
        .chain(of(Kind::Visitor, 4, 'v'))
        .chain(of(Kind::Parent, 6, 'p'))
        .chain(of(Kind::Queue, 6, 'q'))
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Queue,
    Discard,
    Parallel,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::Queue => "QUEUE",
            Self::Discard => "DISCARD",
            Self::Parallel => "PARALLEL",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLoad {
    Always,
    IfChanged,
    Never,
}

/// A watch.
#[derive(Debug, Clone)]
pub struct Watch {
    pub name: String,
    pub znode: String,
    pub kind: Kind,
    pub mode: Mode,
    pub on_load: OnLoad,
    pub retries: u32,
    pub temper: Temper,
    /// Other keys and their values, as TOML.
    keys: Vec<(&'static str, &'static str)>,
    number: usize,
}

/// Every watch. Neighbours differ in all that they can, and the same things come together in all the ways
/// that there is room for.
pub fn watches() -> Vec<Watch> {
    let znodes = znodes();
    let mut used = [0; 4];
    (0..WATCHES)
        .map(|number| {
            let kind = [Kind::Data, Kind::Parent, Kind::Data, Kind::Queue, Kind::Visitor][number % 5];
            let of_kind: Vec<&String> =
                znodes.iter().filter(|(_, other)| *other == kind).map(|(path, _)| path).collect();
            let used = &mut used[kind as usize];
            let znode = of_kind[*used % of_kind.len()].clone();
            *used += 1;
            watch(number, znode, kind)
        })
        .collect()
}

fn watch(number: usize, znode: String, kind: Kind) -> Watch {
    let mode = [Mode::Queue, Mode::Queue, Mode::Discard, Mode::Parallel][number / 5 % 4];
    let on_load = [OnLoad::Always, OnLoad::IfChanged, OnLoad::Never][number / 3 % 3];
    let temper = [Temper::Calm, Temper::Fickle, Temper::Slow, Temper::Stubborn, Temper::Calm][number / 2 % 5];
    let retries = if number.is_multiple_of(3) { 2 } else { 0 };
    let mut keys = Vec::new();
    if retries > 0 {
        keys.extend([("retries", "2"), ("retry_delay", "\"100ms\""), ("retry_max_delay", "\"400ms\"")]);
    }
    match number % 7 {
        0 => keys.push(("settle", "\"150ms\"")),
        2 => keys.push(("splay", "\"300ms\"")),
        4 => keys.push(("min_interval", "\"400ms\"")),
        _ => {}
    }
    match mode {
        Mode::Queue if number % 4 == 1 => keys.push(("notify_signal", "\"USR1\"")),
        Mode::Parallel if number % 2 == 1 => keys.push(("max_parallel", "3")),
        Mode::Queue | Mode::Discard | Mode::Parallel => {}
    }
    if kind == Kind::Visitor && number.is_multiple_of(2) {
        keys.push(("on_delete", "\"run\""));
    }
    if number.is_multiple_of(6) {
        // What it prints is nobody's, so that the death of a minder is not its own.
        keys.push(("output", "\"null\""));
    }
    Watch { name: format!("w{number:02}"), znode, kind, mode, on_load, retries, temper, keys, number }
}

impl Watch {
    /// Its table, with a run that may take a second and so many milliseconds.
    pub fn table(&self, program: &Path, folder: &Path, millis: u64) -> String {
        let Self { name, znode, .. } = self;
        let mut table = format!(
            "[[watch]]\nname = {name:?}\nznode = {znode:?}\nwatch_type = {:?}\nrun_mode = {:?}\n",
            self.kind.watch_type(),
            self.mode.word()
        );
        let on_load = match self.on_load {
            OnLoad::Always => "true",
            OnLoad::IfChanged => "\"if-changed\"",
            OnLoad::Never => "false",
        };
        writeln!(table, "run_on_load = {on_load}\ntimeout = \"1s {millis}ms\"\nkill_after = \"300ms\"")
            .expect("text");
        for (key, value) in &self.keys {
            writeln!(table, "{key} = {value}").expect("text");
        }
        let argv =
            [&program.display().to_string(), "child", &folder.display().to_string(), self.temper.word()];
        let words = argv.join(" ");
        match self.number % 4 {
            0 => writeln!(table, "command = \"exec {words}\""),
            1 => writeln!(table, "script = \"#!/bin/sh\\nexec {words}\\n\""),
            _ => writeln!(table, "command = {argv:?}"),
        }
        .expect("text");
        table
    }
}
