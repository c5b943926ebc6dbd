//! ZooKeeper servers for tests: started, stopped, frozen, and gone when the test process is gone.
//!
//! Needs nothing of the rest of the harness but the two files that it takes in itself, so that an example or
//! a unit test can take in this one by its path.

#[path = "eventually.rs"]
pub mod eventually;
#[path = "port.rs"]
pub mod port;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use zookeeper_client::{Acls, Client, CreateMode};

use eventually::{DEADLINE, eventually};
use port::Port;

/// The folder in a server's folder that snapshots and logs of transactions are in.
const DATA: &str = "version-2";

/// Its manifest names the jars it needs, so that it is the whole of the class path but for the logger and
/// for what it forgets.
const JAR: &str = "/usr/share/java/zookeeper.jar";
/// Optional: without it the server says nothing about what ails it.
const LOGGER: &str = "/usr/share/java/slf4j-simple.jar";
/// What a server that speaks TLS needs.
const NETTY: &str = "/usr/share/java/netty-codec.jar:/usr/share/java/netty-resolver.jar:/usr/share/java/netty-transport-native-unix-common.jar";

/// How long to wait for an answer to a question that can be asked again: one that comes before a server has
/// read its data may never be answered.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long a follower has to come, and how long it may be out of step, in ticks.
const MEMBERSHIP: &str = "initLimit=50\nsyncLimit=10\n";

/// That elections are over soon, and that a member tries for ever to get its port.
const ELECTIONS: [&str; 2] =
    ["-Dzookeeper.fastleader.maxNotificationInterval=1000", "-Dzookeeper.electionPortBindRetry=0"];

/// The parent of the JVM, in a process group of its own, out of the reach of a Ctrl-C.
///
/// Its stdin is a pipe from this process. A line on it asks for the end of the server; the end of the
/// file says that this process is gone, however it went, and that the folder is nobody's any more.
const GUARDIAN: &str = r#"
folder=$1; shift
exec 3<&0
"$@" </dev/null 3<&- >>"$folder/log" 2>&1 &
echo $!
exec >/dev/null
if read -r line <&3; then gone=; else gone=yes; fi
kill -KILL $! 2>/dev/null
wait
[ -z "$gone" ] || rm -rf "$folder"
"#;

/// A server of its own on a port of its own on the loopback, with its data in a temporary folder.
pub struct Server {
    options: Vec<String>,
    /// What its settings say of the ensemble that it is a member of, and the ports that it has for that.
    membership: String,
    _peer_ports: [Option<Port>; 2],
    folder: TempDir,
    port: Port,
    /// Where it speaks TLS.
    secure: Option<Port>,
    running: Mutex<Option<Jvm>>,
}

/// A server's data at some moment.
pub struct Backup(TempDir);

impl Server {
    /// Starts a server with no znodes. It serves when this returns.
    ///
    /// # Panics
    ///
    /// When it cannot be started: with what to install, or with the end of its log.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with options for the JVM, such as `-Djute.maxbuffer=…`.
    pub fn start_with(options: &[&str]) -> Self {
        Self::start_on(options, None)
    }

    /// The same with TLS on a port of its own besides: with the key and the certificate in one PEM file, and
    /// with the certificates whose holders' signatures it asks clients for, if it asks them.
    pub fn start_with_tls(key_store: &Path, trust_store: Option<&Path>) -> Self {
        let mut options = vec![
            "-Dzookeeper.serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory".to_owned(),
            format!("-Dzookeeper.ssl.keyStore.location={}", key_store.display()),
            "-Dzookeeper.ssl.keyStore.type=PEM".to_owned(),
        ];
        match trust_store {
            Some(path) => {
                options.push(format!("-Dzookeeper.ssl.trustStore.location={}", path.display()));
                options.push("-Dzookeeper.ssl.trustStore.type=PEM".to_owned());
            }
            None => options.push("-Dzookeeper.ssl.clientAuth=none".to_owned()),
        }
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        Self::start_on(&options, Some(Port::reserve()))
    }

    fn start_on(options: &[&str], secure: Option<Port>) -> Self {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let server = Self::prepare(options, String::new(), [None, None], secure);
        server.start_again();
        server
    }

    /// Starts an ensemble of three. It serves when this returns.
    pub fn start_ensemble() -> [Self; 3] {
        let peer_ports = [(); 3].map(|()| [Port::reserve(), Port::reserve()]);
        let mut membership = MEMBERSHIP.to_owned();
        for (number, [quorum, election]) in (1..).zip(&peer_ports) {
            let (quorum, election) = (quorum.address(), election.address().port());
            membership.push_str(&format!("server.{number}={quorum}:{election}\n"));
        }
        let options = ELECTIONS.map(String::from).to_vec();
        let mut number = 0;
        let servers = peer_ports.map(|ports| {
            number += 1;
            let server = Self::prepare(options.clone(), membership.clone(), ports.map(Some), None);
            fs::write(server.folder.path().join("myid"), number.to_string()).expect("a server's number");
            server
        });
        // Alone, none of them serves.
        servers.iter().for_each(Self::launch);
        servers.iter().for_each(Self::wait_until_it_serves);
        servers
    }

    fn prepare(
        options: Vec<String>,
        membership: String,
        peer_ports: [Option<Port>; 2],
        secure: Option<Port>,
    ) -> Self {
        let (folder, port, running) = (temporary_folder(), Port::reserve(), Mutex::new(None));
        Self { options, membership, _peer_ports: peer_ports, folder, port, secure, running }
    }

    /// Where clients find it, running or not: `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.port.address().to_string()
    }

    /// Where clients find it that speak TLS.
    pub fn secure_address(&self) -> String {
        self.secure.as_ref().expect("a server with TLS").address().to_string()
    }

    /// Ends the server as a power failure would, and returns when it is gone. Nothing else gets its port.
    pub fn stop(&self) {
        self.running().take().expect("a running ZooKeeper server to stop").end();
    }

    /// Starts a stopped server on the same port with the same data.
    pub fn start_again(&self) {
        self.start_again_with(&[]);
    }

    /// The same with more options for the JVM, this time.
    pub fn start_again_with(&self, more: &[&str]) {
        self.launch_with(more);
        self.wait_until_it_serves();
    }

    /// While the server is stopped: copies its data.
    pub fn back_up(&self) -> Backup {
        let backup = temporary_folder();
        copy(&self.data(), &backup.path().join(DATA));
        Backup(backup)
    }

    /// While the server is stopped: puts this in the place of its data.
    pub fn restore(&self, backup: &Backup) {
        self.wipe();
        copy(&backup.0.path().join(DATA), &self.data());
    }

    /// While the server is stopped: removes its data.
    pub fn wipe(&self) {
        fs::remove_dir_all(self.data()).expect("the data to go");
    }

    fn data(&self) -> PathBuf {
        assert!(self.running().is_none(), "the data is that of a running ZooKeeper server");
        self.folder.path().join(DATA)
    }

    /// The zxid of the last transaction in its log, running or not.
    ///
    /// The log has a head of 16 bytes, and for each transaction a checksum of 8, its length in 4, as many bytes as that
    /// and one that ends it; what comes after the last are zeros. A transaction begins with a session of 8 bytes, a
    /// number of 4 and the zxid.
    pub fn last_transaction(&self) -> Option<i64> {
        let files = fs::read_dir(self.folder.path().join(DATA))
            .expect("the data")
            .map(|entry| entry.expect("a file"));
        let logs = files.filter(|file| file.file_name().to_string_lossy().starts_with("log."));
        let mut last = None;
        for log in logs {
            let bytes = fs::read(log.path()).expect("a log of transactions");
            let mut rest = bytes.get(16..).unwrap_or_default();
            while let Some((head, transaction)) = rest.split_at_checked(12) {
                let length = u32::from_be_bytes(head[8..].try_into().expect("four bytes")) as usize;
                let Some(zxid) = transaction.get(12..20).filter(|_| length >= 20) else { break };
                last = last.max(Some(i64::from_be_bytes(zxid.try_into().expect("eight bytes"))));
                rest = transaction.get(length + 1..).unwrap_or_default();
            }
        }
        last
    }

    /// The same without waiting until it serves, which the member of an ensemble may not do for long.
    pub fn launch(&self) {
        self.launch_with(&[]);
    }

    fn launch_with(&self, more: &[&str]) {
        let mut running = self.running();
        assert!(running.is_none(), "this ZooKeeper server runs already");
        *running = Some(self.jvm(&self.port, self.secure.as_ref(), more));
    }

    /// Waits until a server that was launched serves.
    pub fn wait_until_it_serves(&self) {
        wait_until_it_serves(self.folder.path(), self.port.address());
    }

    /// What it is in its ensemble: `leader` or `follower`. `None`: it does not serve, or does not say so at once.
    pub fn mode(&self) -> Option<String> {
        let answer = four_letter(self.port.address(), "srvr", PATIENCE).ok()?;
        answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }

    /// Waits until all of these, which are those of an ensemble that run, serve, under one leader: one that was frozen
    /// may not have heard yet that it is one no more.
    pub fn wait_until_they_agree<'a>(servers: impl IntoIterator<Item = &'a Self> + Copy) {
        eventually(DEADLINE, "an ensemble with one leader", || {
            let modes: Vec<Option<String>> = servers.into_iter().map(Self::mode).collect();
            let count = |mode: &str| modes.iter().filter(|other| other.as_deref() == Some(mode)).count();
            let agree = count("leader") == 1 && count("follower") == modes.len() - 1;
            if agree { Ok(()) } else { Err(modes) }
        });
    }

    fn jvm(&self, port: &Port, secure: Option<&Port>, more: &[&str]) -> Jvm {
        let secure = secure.map(Port::address);
        let settings = settings(self.folder.path(), port.address(), secure, &self.membership);
        let more = more.iter().map(|&option| option.to_owned());
        let options: Vec<String> = self.options.iter().cloned().chain(more).collect();
        Jvm::launch(&options, self.folder.path(), &settings)
    }

    /// While the server is stopped: serves its data at an address that nobody knows but `visit`, so that a
    /// znode can change behind the backs of those who wait for the server to come back. Their sessions have
    /// expired by then.
    pub fn elsewhere<T>(&self, visit: impl FnOnce(&str) -> T) -> T {
        let running = self.running();
        assert!(running.is_none(), "a running ZooKeeper server cannot be elsewhere as well");
        let port = Port::reserve();
        let jvm = self.jvm(&port, None, &[]);
        wait_until_it_serves(self.folder.path(), port.address());
        no_session_is_left(port.address());
        let result = visit(&port.address().to_string());
        jvm.end();
        result
    }

    /// Stops its time: connections stay open, and nothing answers.
    pub fn freeze(&self) {
        let pid = self.signal(Signal::SIGSTOP);
        // Some of its threads may run on for a moment.
        eventually(DEADLINE, "a server that stands still", || is_stopped(pid));
    }

    /// Lets its time go on.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// What it answers to a four letter word: `mntr` for its counters, `wchp` for its watches, `cons` for
    /// its connections, `dump` for its sessions.
    pub fn four_letter(&self, word: &str) -> String {
        four_letter(self.port.address(), word, DEADLINE).expect("an answer to a four letter word")
    }

    /// Waits until nobody but those who come afterwards has a session.
    pub fn wait_until_no_session_is_left(&self) {
        no_session_is_left(self.port.address());
    }

    /// Waits until some client waits for a change of the znode at this path from the root, chroot and all. The
    /// server does not list those who wait for a change of its children.
    pub fn wait_until_watched(&self, path: &str) {
        eventually(DEADLINE, format!("a watch of {path}"), || {
            let watches = self.four_letter("wchp");
            if watches.lines().any(|line| line == path) { Ok(()) } else { Err(watches) }
        });
    }

    /// Makes a znode without contents below the root, and returns the address with it as the chroot.
    pub fn chroot(&self, name: &str) -> String {
        chroot(&self.address(), name)
    }

    /// Lets go of the server as the death of this process would: without a word. Returns the folder that
    /// its guardian removes at the very end.
    pub fn abandon(mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        drop(self.running().take().expect("a running ZooKeeper server to abandon"));
        self.folder.path().to_owned()
    }

    fn signal(&self, signal: Signal) -> Pid {
        let running = self.running();
        let jvm = running.as_ref().expect("a running ZooKeeper server to signal");
        kill(jvm.pid, signal).expect("a signal to a child's child");
        jvm.pid
    }

    fn running(&self) -> MutexGuard<'_, Option<Jvm>> {
        // A test that failed while it held the lock must not fail those that end the server after it.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(jvm) = self.running().take() {
            jvm.end();
        }
    }
}

/// The server that tests share that don't stop it. It ends with the process.
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(Server::start)
}

/// A connect string for the shared server, `127.0.0.1:port/name-number`, under which there is nothing yet.
pub fn shared_chroot(name: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    shared().chroot(&format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed)))
}

fn temporary_folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("twitcher-zookeeper-")
        .tempdir()
        .expect("a temporary folder for ZooKeeper's data")
}

/// Copies a folder of files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder of files") {
        let entry = entry.expect("a file");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

fn chroot(address: &str, name: &str) -> String {
    // On a thread of its own, since the caller may be a task of a runtime, where another can't be entered.
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a tokio runtime").block_on(async {
                    let client = Client::connect(address).await.expect("a session with ZooKeeper");
                    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
                    client.create(&format!("/{name}"), &[], &options).await.expect("a new znode");
                    // A session that is only dropped would be waited for by those who wait for all to expire.
                    let mut state = client.state_watcher();
                    drop(client);
                    while !state.changed().await.is_terminated() {}
                });
            })
            .join()
            .expect("a chroot");
    });
    format!("{address}/{name}")
}

/// A running server: its process, and the shell that sees to it that it ends.
struct Jvm {
    /// Not reused as long as the guardian has not waited for it.
    pid: Pid,
    guardian: Child,
    pipe: ChildStdin,
}

impl Jvm {
    fn launch(options: &[String], folder: &Path, settings: &Path) -> Self {
        assert!(Path::new(JAR).exists(), "{JAR} is missing; 'make deps' installs it");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GUARDIAN, "guardian"]).arg(folder);
        command.args(["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        // It need not survive a power failure, and an fsync on a busy disk can outlast a session.
        command.args(["-Dzookeeper.forceSync=no", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]);
        command.args(options);
        command.args(["-cp", &format!("{JAR}:{LOGGER}:{NETTY}")]);
        command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(settings);
        let mut guardian = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a shell to guard ZooKeeper");
        let pipe = guardian.stdin.take().expect("the guardian's stdin");
        let mut line = String::new();
        BufReader::new(guardian.stdout.take().expect("the guardian's stdout"))
            .read_line(&mut line)
            .expect("the server's pid");
        let pid = Pid::from_raw(line.trim().parse().expect("a number as the server's pid"));
        Self { pid, guardian, pipe }
    }

    fn end(mut self) {
        // A guardian that is gone has taken the server with it.
        let _ = self.pipe.write_all(b"end\n");
        self.guardian.wait().expect("the guardian to end");
    }
}

/// Whether each thread of a process is stopped.
fn is_stopped(pid: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the threads of a server");
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state comes after the name, which is in parentheses and may have any in it.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    })
}

fn wait_until_it_serves(folder: &Path, address: SocketAddr) {
    // `conf` names the folder, so that an answer is this server's and no other's.
    let mark = format!("dataDir={}", folder.display());
    eventually(DEADLINE, "ZooKeeper to serve", || match four_letter(address, "conf", PATIENCE) {
        Ok(answer) if answer.contains(&mark) => Ok(()),
        other => Err((other, fs::read_to_string(folder.join("log")))),
    });
}

fn no_session_is_left(address: SocketAddr) {
    eventually(DEADLINE, "every session to expire", || match four_letter(address, "dump", DEADLINE) {
        // The first number is of the moments at which sessions expire, the second of the sessions.
        Ok(answer)
            if answer.lines().any(|line| line.starts_with("Session Sets (") && line.ends_with("/(0):")) =>
        {
            Ok(())
        }
        other => Err(other),
    });
}

fn settings(folder: &Path, address: SocketAddr, secure: Option<SocketAddr>, membership: &str) -> PathBuf {
    let file = folder.join("zoo.cfg");
    let mut text = format!(
        "dataDir={}\n\
         clientPort={}\n\
         clientPortAddress={}\n\
         # A session may be as short as two ticks, and as long as a daemon's own default.\n\
         tickTime=200\n\
         maxSessionTimeout=30000\n\
         maxClientCnxns=0\n\
         admin.enableServer=false\n\
         4lw.commands.whitelist=*\n\
         {membership}",
        folder.display(),
        address.port(),
        address.ip()
    );
    if let Some(secure) = secure {
        writeln!(text, "secureClientPort={}\nsecureClientPortAddress={}", secure.port(), secure.ip())
            .expect("text");
    }
    fs::write(&file, text).expect("ZooKeeper's settings");
    file
}

fn four_letter(address: SocketAddr, word: &str, patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(word.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
