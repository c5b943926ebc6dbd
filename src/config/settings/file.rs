//! The settings file: text in, what it says or all its problems out. Pure.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::log::{self, LogFormat, LogTarget};
use super::{Tls, servers};
use crate::config::keys;
use crate::config::problem::{Problem, Source};
use crate::config::reader::{Reader, Value};
use crate::config::spec::GroupRef;
use crate::config::values;
use crate::config::watch_table::Defaults;
use crate::config::words::listed;

/// What the file says; what it leaves out is `None`.
#[derive(Debug, Default)]
pub(super) struct FileSettings {
    pub(super) servers: Option<String>,
    pub(super) session_timeout: Option<Duration>,
    pub(super) credentials: Option<PathBuf>,
    pub(super) tls: Option<Tls>,
    pub(super) config_dir: Option<PathBuf>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) run_dir: Option<PathBuf>,
    pub(super) hostname: Option<String>,
    pub(super) max_running: Option<usize>,
    pub(super) stop_children: Option<bool>,
    pub(super) control_group: Option<GroupRef>,
    pub(super) log_target: Option<LogTarget>,
    pub(super) log_level: Option<String>,
    pub(super) log_format: Option<LogFormat>,
    pub(super) metrics_listen: Option<SocketAddr>,
    pub(super) defaults: Defaults,
}

const SECTIONS: &[&str] = &["zookeeper", "daemon", "control", "log", "metrics", "defaults"];

/// A section: its name and its keys.
struct Section {
    name: &'static str,
    keys: &'static [&'static str],
    read: fn(&mut FileSettings, &mut Reader<'_>, &str, &Value<'_>),
}

const ZOOKEEPER: Section = Section {
    name: "[zookeeper]",
    keys: &["servers", "session_timeout", "credentials_file", "tls"],

    read: FileSettings::zookeeper,
};
const DAEMON: Section = Section {
    name: "[daemon]",
    keys: &["config_dir", "state_dir", "run_dir", "hostname", "max_running", "stop_children"],

    read: FileSettings::daemon,
};
const CONTROL: Section = Section { name: "[control]", keys: &["group"], read: FileSettings::control };
const LOG: Section = Section { name: "[log]", keys: &["target", "level", "format"], read: FileSettings::log };
const METRICS: Section = Section { name: "[metrics]", keys: &["listen"], read: FileSettings::metrics };

/// The keys of `tls`.
const TLS: &[&str] = &["ca", "cert", "key"];

impl FileSettings {
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Vec<Problem>> {
        let source = Source::decode(path, bytes).map_err(|problem| vec![problem])?;
        let mut r = Reader::new(source);
        let mut settings = Self::default();
        let document = r.document().unwrap_or_default();
        for (key, value) in &document {
            let name: &str = key.get_ref();
            match (name, value.get_ref().as_table()) {
                ("zookeeper", Some(table)) => settings.section(&mut r, &ZOOKEEPER, table),
                ("daemon", Some(table)) => settings.section(&mut r, &DAEMON, table),
                ("control", Some(table)) => settings.section(&mut r, &CONTROL, table),
                ("log", Some(table)) => settings.section(&mut r, &LOG, table),
                ("metrics", Some(table)) => settings.section(&mut r, &METRICS, table),
                ("defaults", Some(table)) => settings.defaults = Defaults::from_table(&mut r, table),
                (section, None) if SECTIONS.contains(&section) => r.wrong_type(section, value, "a table"),
                ("watch", _) => {
                    let message = "a watch does not belong in the daemon's settings";
                    r.report_with_help(key.span(), message, "put it into a file below the config folder");
                }
                (key_name, None) => {
                    let sections = [&ZOOKEEPER, &DAEMON, &CONTROL, &LOG, &METRICS];
                    let message = format!("the key {key_name:?} stands outside of a table");
                    match sections.iter().find(|section| section.keys.contains(&key_name)) {
                        Some(section) => {
                            r.report_with_help(
                                key.span(),
                                message,
                                format!("it belongs below {}", section.name),
                            );
                        }
                        None => r.report(key.span(), message),
                    }
                }
                (other, Some(_)) => {
                    let help = match keys::nearest(other, SECTIONS.iter().copied()) {
                        Some(section) => format!("did you mean [{section}]?"),
                        None => format!("the tables are [{}]", SECTIONS.join("], [")),
                    };
                    r.report_with_help(key.span(), format!("unknown table [{other}]"), help);
                }
            }
        }
        r.finish(settings)
    }

    fn section(&mut self, r: &mut Reader<'_>, section: &Section, table: &DeTable<'_>) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            if section.keys.contains(&name) {
                (section.read)(self, r, name, value);
            } else {
                r.unknown_key(key.span(), name, section.name, section.keys);
            }
        }
    }

    fn zookeeper(&mut self, r: &mut Reader<'_>, key: &str, value: &Value<'_>) {
        match key {
            "servers" => {
                let Some(text) = r.text(key, value) else { return };
                match servers::check(&text) {
                    Ok(()) => self.servers = Some(text),
                    Err(why) => r.report_with_help(value.span(), why, servers::FORM),
                }
            }
            "credentials_file" => self.credentials = r.absolute_path(key, value),
            "tls" => self.tls = tls(r, value),
            _ => {
                let help = "the ensemble grants no session without a timeout";
                let Some(timeout) = r.positive_duration(key, value, help) else { return };
                // The protocol has it as a positive i32 of milliseconds.
                if timeout.as_millis() == 0 || i32::try_from(timeout.as_millis()).is_err() {
                    r.report(value.span(), format!("{key} must be from 1 ms to 24 days"));
                }
                self.session_timeout = Some(timeout);
            }
        }
    }

    fn daemon(&mut self, r: &mut Reader<'_>, key: &str, value: &Value<'_>) {
        match key {
            "config_dir" => self.config_dir = r.absolute_path(key, value),
            "state_dir" => self.state_dir = r.absolute_path(key, value),
            "run_dir" => self.run_dir = r.absolute_path(key, value),
            "max_running" => self.max_running = r.number(key, value, 1..=100_000).map(|n| n as usize),
            "stop_children" => self.stop_children = r.boolean(key, value),
            _ => {
                self.hostname = r.text(key, value);
                if self.hostname.as_ref().is_some_and(|name| {
                    name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control())
                }) {
                    r.report(value.span(), "hostname must be one word");
                }
            }
        }
    }

    fn control(&mut self, r: &mut Reader<'_>, key: &str, value: &Value<'_>) {
        self.control_group = values::group(r, key, value);
    }

    fn log(&mut self, r: &mut Reader<'_>, key: &str, value: &Value<'_>) {
        match key {
            "target" => {
                let Some(text) = r.text(key, value) else { return };
                let words = || log::TARGETS.iter().map(|(word, _)| *word);
                if text.starts_with('/') {
                    self.log_target = Some(LogTarget::File(text.into()));
                } else if let Some((_, target)) = log::TARGETS.iter().find(|(word, _)| *word == text) {
                    self.log_target = Some(target.clone());
                } else {
                    let help = match keys::nearest(&text, words()) {
                        Some(word) => format!("did you mean {word:?}?"),
                        None => format!("target is {} or an absolute path", listed(words())),
                    };
                    r.report_with_help(value.span(), format!("{text:?} is not a value of target"), help);
                }
            }
            "level" => {
                let Some(text) = r.text(key, value) else { return };
                match log::log_filter(&text) {
                    Ok(_) => self.log_level = Some(text),
                    Err(why) => r.report_with_help(value.span(), why, log::LEVELS),
                }
            }
            _ => self.log_format = r.word(key, value, log::FORMATS),
        }
    }

    fn metrics(&mut self, r: &mut Reader<'_>, key: &str, value: &Value<'_>) {
        let Some(text) = r.text(key, value) else { return };
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() > 0 => self.metrics_listen = Some(address),
            Ok(_) => r.report_with_help(value.span(), "the port must be from 1 to 65535", ADDRESS),
            Err(_) => {
                r.report_with_help(value.span(), format!("{text:?} is not an address to listen on"), ADDRESS);
            }
        }
    }
}

/// What an address looks like, for a `help:` line.
const ADDRESS: &str =
    "write an IP address and a port, such as \"127.0.0.1:9464\" or \"[::1]:9464\"; 0.0.0.0 is every address";

fn tls(r: &mut Reader<'_>, value: &Value<'_>) -> Option<Tls> {
    let table = r.table("tls", value)?;
    let (mut ca, mut cert, mut key) = (None, None, None);
    for (name, path) in table {
        match name.get_ref().as_ref() {
            "ca" => ca = r.absolute_path("ca", path),
            "cert" => cert = r.absolute_path("cert", path),
            "key" => key = r.absolute_path("key", path),
            other => r.unknown_key(name.span(), other, "tls", TLS),
        }
    }
    let place = |given: &str| table.get_key_value(given).map(|(name, _)| name.span());
    // An unknown key may have been meant to be the one that is missing.
    let all_known = table.keys().all(|name| TLS.contains(&name.get_ref().as_ref()));
    if place("ca").is_none() && all_known {
        let help = "add the certificate of who signed the servers', such as ca = \"/etc/twitcher/ca.pem\"";
        r.report_with_help(value.span(), "tls has no ca", help);
    }
    match (place("cert"), place("key")) {
        (Some(span), None) if all_known => {
            r.report_with_help(span, "cert does nothing without its key", "add key, or leave cert out");
        }
        (None, Some(span)) if all_known => {
            r.report_with_help(span, "key does nothing without its cert", "add cert, or leave key out");
        }
        (Some(_) | None, Some(_) | None) => {}
    }
    Some(Tls { ca: ca?, client: cert.zip(key) })
}
