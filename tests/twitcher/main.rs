//! The real program against a real ZooKeeper. One binary for all of it, so that it is linked once.
//!
//! A test whose name begins with `p1` to `p8` holds the program to the promise of that number:
//!
//! 1. *convergence*: after the last update a QUEUE watch starts a run that was given it;
//! 2. *exclusion*: two runs of one QUEUE or DISCARD watch never overlap;
//! 3. *silence*: nothing runs without a reason;
//! 4. *isolation of config*: a bad file never disturbs a watch that was good;
//! 5. *isolation of children*: no child delays another watch or harms the daemon;
//! 6. *the kill works*: after `timeout` and `kill_after` nothing of the run's process group is left;
//! 7. *privilege*: a child runs as whom it should, and inherits nothing that it should not;
//! 8. *the daemon stays*: after start-up nothing but a stop request ends it.

#[path = "../harness/mod.rs"]
mod harness;

mod api;
mod away;
mod cgroups;
mod children;
mod clock;
mod control;
mod crowd;
mod disk;
mod documents;
mod environment;
mod examples;
mod existence;
mod help;
mod hostile;
mod import;
mod inherit;
mod loading;
mod log_file;
mod log_sockets;
mod metrics;
mod minder;
mod network;
mod outage;
mod output;
mod packaging;
mod poke;
mod privileges;
mod quiet;
mod record;
mod restarting;
mod run_modes;
mod scripts;
mod servers;
mod session;
mod socket;
mod starting;
mod stdin;
mod stopping;
mod syslog;
mod systemd;
mod takeover;
mod terminal;
mod timeouts;
mod verbs;
mod watch;
