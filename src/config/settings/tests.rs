//! Settings from every source, and the messages when they are wrong.

#![allow(clippy::unwrap_used)]

use tracing::Level;

use super::*;

fn parse(text: &str) -> Result<Settings, Vec<Problem>> {
    Settings::parse(Path::new("t.toml"), text.as_bytes(), Overrides::default())
}

fn problems(text: &str) -> String {
    let problems = parse(text).unwrap_err();
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn without_a_file_everything_has_its_default() {
    let settings = parse("").unwrap();
    assert_eq!(settings.zookeeper.servers, "localhost:2181");
    assert_eq!(settings.zookeeper.session_timeout, Duration::from_secs(10));
    assert_eq!(settings.daemon.config_dir, Path::new("/etc/twitcher.d"));
    assert_eq!(settings.daemon.state_dir, Path::new("/var/lib/twitcher"));
    assert_eq!(settings.daemon.run_dir, Path::new("/run/twitcher"));
    assert_eq!(settings.daemon.max_running, 64);
    assert!(!settings.daemon.stop_children);
    assert!(!settings.daemon.hostname.is_empty());
    assert_eq!(settings.log, Log { target: LogTarget::Auto, level: "info".into(), format: LogFormat::Text });
}

#[test]
fn an_override_beats_the_file_and_the_file_beats_the_default() {
    let text = "[zookeeper]\nservers='a,b'\nsession_timeout=4\n[daemon]\nconfig_dir='/c'\nhostname='h'\n\
                [log]\ntarget='/var/log/t'\nlevel='debug'\nformat='json'";
    let overrides = Overrides {
        servers: Some("z:1".into()),
        config_dir: Some("relative".into()),
        log_target: Some(LogTarget::Stderr),
        ..Overrides::default()
    };
    let settings = Settings::parse(Path::new("t.toml"), text.as_bytes(), overrides).unwrap();
    assert_eq!(settings.zookeeper.servers, "z:1");
    assert_eq!(settings.zookeeper.session_timeout, Duration::from_secs(4));
    assert_eq!(settings.daemon.config_dir, std::env::current_dir().unwrap().join("relative"));
    assert_eq!(settings.daemon.hostname, "h");
    assert_eq!(
        settings.log,
        Log { target: LogTarget::Stderr, level: "debug".into(), format: LogFormat::Json }
    );
}

#[test]
fn a_log_file_named_by_a_flag_is_below_the_current_directory() {
    let overrides = Overrides { log_target: Some(LogTarget::File("t.log".into())), ..Overrides::default() };
    let settings = Settings::parse(Path::new("t.toml"), b"", overrides).unwrap();
    assert_eq!(settings.log.target, LogTarget::File(std::env::current_dir().unwrap().join("t.log")));
}

#[test]
fn a_file_asked_for_by_name_must_exist() {
    let error = Settings::load(Some(Path::new("/nonexistent/t.toml")), Overrides::default()).unwrap_err();
    assert_eq!(error[0].to_string(), "/nonexistent/t.toml: error: there is no such file");
}

#[test]
fn the_group_of_the_socket_is_a_name_or_a_number() {
    let group = |value: &str| parse(&format!("[control]\ngroup = {value}")).unwrap().control.group;
    assert_eq!(group("'ops'"), Some(GroupRef::Name("ops".into())));
    assert_eq!(group("'27'"), Some(GroupRef::Id(27)));
    assert_eq!(group("27"), Some(GroupRef::Id(27)));
    assert_eq!(parse("").unwrap().control.group, None);
    snapbox::assert_data_eq!(
        problems("[control]\ngroup = 'a b'\ngropu = 1\nmode = 1"),
        snapbox::str![[r#"
t.toml:2:9: error: ' ' cannot be in the name of a group
 2 | group = 'a b'
   |         ^^^^^
t.toml:3:1: error: unknown key "gropu" in [control]
 3 | gropu = 1
   | ^^^^^
help: did you mean "group"?
t.toml:4:1: error: unknown key "mode" in [control]
 4 | mode = 1
   | ^^^^
help: the keys are group
"#]]
    );
}

#[test]
fn all_problems_of_the_settings_are_told_together() {
    let text = "\
[zookeper]
servers = 'a'
[zookeeper]
server = 'a'
servers = 'a:x'
session_timeout = 0
tls = {}
[log]
level = 'inof'
target = 'syslogd'
[defaults]
timout = 5
name = 'x'
timeout = 'soon'
splay = -1
retry_delay = '2m'
[metrics]
listen = 'localhost:9464'
[control]
group = ''
";
    snapbox::assert_data_eq!(
        problems(text),
        snapbox::str![[r#"
t.toml:1:2: error: unknown table [zookeper]
 1 | [zookeper]
   |  ^^^^^^^^
help: did you mean [zookeeper]?
t.toml:4:1: error: unknown key "server" in [zookeeper]
 4 | server = 'a'
   | ^^^^^^
help: did you mean "servers"?
t.toml:5:11: error: the port of "a:x" must be from 1 to 65535
 5 | servers = 'a:x'
   |           ^^^^^
help: write host:port, several with commas, and a chroot at the end, such as "zk1:2181,zk2:2181/chroot"
t.toml:6:19: error: session_timeout must be more than 0
 6 | session_timeout = 0
   |                   ^
help: the ensemble grants no session without a timeout
t.toml:7:7: error: tls has no ca
 7 | tls = {}
   |       ^^
help: add the certificate of who signed the servers', such as ca = "/etc/twitcher/ca.pem"
t.toml:9:9: error: "inof" is not a log level; did you mean "info"?
 9 | level = 'inof'
   |         ^^^^^^
help: a level is "error", "warn", "info", "debug", "trace" or "off"; a filter is such as "info,twitcher::watch=debug"
t.toml:10:10: error: "syslogd" is not a value of target
 10 | target = 'syslogd'
    |          ^^^^^^^^^
help: did you mean "syslog"?
t.toml:12:1: error: unknown key "timout" in [defaults]
 12 | timout = 5
    | ^^^^^^
help: did you mean "timeout"?
t.toml:13:1: error: name belongs to one watch and can have no default
 13 | name = 'x'
    | ^^^^
t.toml:14:11: error: timeout: "soon" is not a duration
 14 | timeout = 'soon'
    |           ^^^^^^
help: write a number of seconds, or text such as "90s", "1m 30s", "500ms" or "2h"
t.toml:15:9: error: splay must not be negative
 15 | splay = -1
    |         ^^
t.toml:16:15: error: retry_delay is 2m, more than retry_max_delay, which is 1m unless it is set
 16 | retry_delay = '2m'
    |               ^^^^
help: set retry_max_delay to 2m or more, or retry_delay to 1m or less
t.toml:18:10: error: "localhost:9464" is not an address to listen on
 18 | listen = 'localhost:9464'
    |          ^^^^^^^^^^^^^^^^
help: write an IP address and a port, such as "127.0.0.1:9464" or "[::1]:9464"; 0.0.0.0 is every address
t.toml:20:9: error: group must not be empty
 20 | group = ''
    |         ^^
"#]]
    );
}

#[test]
fn metrics_are_served_over_tcp_only_where_an_address_is_given() {
    assert_eq!(parse("[metrics]").unwrap().metrics.listen, None);
    for address in ["127.0.0.1:9464", "[::1]:9464", "0.0.0.0:80"] {
        let text = format!("[metrics]\nlisten = '{address}'");
        assert_eq!(parse(&text).unwrap().metrics.listen, Some(address.parse().unwrap()));
    }
    snapbox::assert_data_eq!(
        problems("[metrics]\nlisten = '127.0.0.1:0'\nport = 1"),
        snapbox::str![[r#"
t.toml:2:10: error: the port must be from 1 to 65535
 2 | listen = '127.0.0.1:0'
   |          ^^^^^^^^^^^^^
help: write an IP address and a port, such as "127.0.0.1:9464" or "[::1]:9464"; 0.0.0.0 is every address
t.toml:3:1: error: unknown key "port" in [metrics]
 3 | port = 1
   | ^^^^
help: the keys are listen
"#]]
    );
}

#[test]
fn an_override_that_is_wrong_is_named() {
    let overrides =
        Overrides { servers: Some("a b".into()), log_level: Some("loud".into()), ..Overrides::default() };
    let problems = Settings::parse(Path::new("t.toml"), b"", overrides).unwrap_err();
    assert_eq!(
        problems[0].one_line().split(" (help").next(),
        Some("--zkservers or TWITCHER_ZKSERVERS: ' ' cannot be in the name of a host")
    );
    assert_eq!(
        problems[1].one_line().split(" (help").next(),
        Some("TWITCHER_LOG: \"loud\" is not a log level")
    );
}

#[test]
fn a_log_filter_is_of_levels_and_targets() {
    let level_of = |filter: &str, target: &str| {
        let filter = log_filter(filter).expect(filter);
        let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
        levels.into_iter().rfind(|level| filter.would_enable(target, level))
    };
    assert_eq!(level_of("warn", "twitcher::watch"), Some(Level::WARN));
    for filter in
        ["info,twitcher::watch=debug", " info, twitcher::watch=debug,", "twitcher::watch=debug,info"]
    {
        assert_eq!(level_of(filter, "twitcher::watch::hub"), Some(Level::DEBUG), "{filter}");
        assert_eq!(level_of(filter, "twitcher::run"), Some(Level::INFO), "{filter}");
    }
    assert_eq!(level_of("off,twitcher::run=info", "twitcher::watch"), None);
    for (filter, why) in [
        ("", "a log level must not be empty"),
        (" , ", "a log level must not be empty"),
        ("inof", r#""inof" is not a log level; did you mean "info"?"#),
        (
            "a=b=c",
            r#""a=b=c" is not a filter: invalid filter directive: too many '=' in filter directive, expected 0 or 1"#,
        ),
        (
            "info,[serve]=debug",
            r#""info,[serve]=debug" is not a filter: it can be about targets, not about spans or fields"#,
        ),
    ] {
        assert_eq!(log_filter(filter).expect_err(filter), why);
    }
}

#[test]
fn the_files_for_zookeeper_are_named_by_their_paths() {
    let text = "[zookeeper]\ncredentials_file='/c'\ntls={ca='/ca.pem'}";
    let zookeeper = parse(text).unwrap().zookeeper;
    assert_eq!(zookeeper.credentials, Some("/c".into()));
    assert_eq!(zookeeper.tls, Some(Tls { ca: "/ca.pem".into(), client: None }));
    let text = "[zookeeper.tls]\nca='/ca.pem'\ncert='/cert.pem'\nkey='/key.pem'";
    let client = Some(("/cert.pem".into(), "/key.pem".into()));
    assert_eq!(parse(text).unwrap().zookeeper.tls, Some(Tls { ca: "/ca.pem".into(), client }));
    let zookeeper = parse("").unwrap().zookeeper;
    assert_eq!((zookeeper.credentials, zookeeper.tls), (None, None));
}

#[test]
fn files_for_zookeeper_that_are_named_wrongly_are_told_what_would_be_right() {
    let text = "\
[zookeeper]
credentials_file = 'zookeeper.credentials'
tls = { ca = 'ca.pem', crt = '/c.pem', key = '/k.pem' }
";
    snapbox::assert_data_eq!(
        problems(text),
        snapbox::str![[r#"
t.toml:2:20: error: credentials_file must be an absolute path: start it with '/'
 2 | credentials_file = 'zookeeper.credentials'
   |                    ^^^^^^^^^^^^^^^^^^^^^^^
t.toml:3:14: error: ca must be an absolute path: start it with '/'
 3 | tls = { ca = 'ca.pem', crt = '/c.pem', key = '/k.pem' }
   |              ^^^^^^^^
t.toml:3:24: error: unknown key "crt" in tls
 3 | tls = { ca = 'ca.pem', crt = '/c.pem', key = '/k.pem' }
   |                        ^^^
help: did you mean "cert"?
"#]]
    );
    snapbox::assert_data_eq!(
        problems("[zookeeper]\ntls = { cert = '/c.pem' }"),
        snapbox::str![[r#"
t.toml:2:7: error: tls has no ca
 2 | tls = { cert = '/c.pem' }
   |       ^^^^^^^^^^^^^^^^^^^
help: add the certificate of who signed the servers', such as ca = "/etc/twitcher/ca.pem"
t.toml:2:9: error: cert does nothing without its key
 2 | tls = { cert = '/c.pem' }
   |         ^^^^
help: add key, or leave cert out
"#]]
    );
    snapbox::assert_data_eq!(
        problems("[zookeeper]\ntls = true"),
        snapbox::str![[r#"
t.toml:2:7: error: tls must be a table, not true
 2 | tls = true
   |       ^^^^
"#]]
    );
}
