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
        let folder = temporary_folder();
        let server = Self { options, folder, port: Port::reserve(), secure, running: Mutex::new(None) };
        server.start_again();
        server
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
        let mut running = self.running();
        assert!(running.is_none(), "this ZooKeeper server runs already");
        let more = more.iter().map(|&option| option.to_owned());
        let options: Vec<String> = self.options.iter().cloned().chain(more).collect();
        *running = Some(Jvm::start(&options, self.folder.path(), (&self.port, self.secure.as_ref())));
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

    /// While the server is stopped: serves its data at an address that nobody knows but `visit`, so that a
    /// znode can change behind the backs of those who wait for the server to come back. Their sessions have
    /// expired by then.
    pub fn elsewhere<T>(&self, visit: impl FnOnce(&str) -> T) -> T {
        let running = self.running();
        assert!(running.is_none(), "a running ZooKeeper server cannot be elsewhere as well");
        let port = Port::reserve();
        let jvm = Jvm::start(&self.options, self.folder.path(), (&port, None));
        no_session_is_left(port.address());
        let result = visit(&port.address().to_string());
        jvm.end();
        result
    }

    /// Stops its time: connections stay open, and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
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

    fn signal(&self, signal: Signal) {
        let running = self.running();
        let jvm = running.as_ref().expect("a running ZooKeeper server to signal");
        kill(jvm.pid, signal).expect("a signal to a child's child");
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
    fn start(options: &[String], folder: &Path, (port, secure): (&Port, Option<&Port>)) -> Self {
        assert!(Path::new(JAR).exists(), "{JAR} is missing; 'make deps' installs it");
        let settings = settings(folder, port.address(), secure.map(Port::address));
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
        let jvm = Self { pid, guardian, pipe };
        jvm.wait_until_it_serves(folder, port.address());
        jvm
    }

    fn wait_until_it_serves(&self, folder: &Path, address: SocketAddr) {
        // `conf` names the folder, so that an answer is this server's and no other's.
        let mark = format!("dataDir={}", folder.display());
        // A question that comes before the server has read its data may never be answered: ask again.
        let patience = Duration::from_millis(250);
        eventually(DEADLINE, "ZooKeeper to serve", || match four_letter(address, "conf", patience) {
            Ok(answer) if answer.contains(&mark) => Ok(()),
            other => Err((other, fs::read_to_string(folder.join("log")))),
        });
    }

    fn end(mut self) {
        // A guardian that is gone has taken the server with it.
        let _ = self.pipe.write_all(b"end\n");
        self.guardian.wait().expect("the guardian to end");
    }
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

fn settings(folder: &Path, address: SocketAddr, secure: Option<SocketAddr>) -> PathBuf {
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
         4lw.commands.whitelist=*\n",
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
