//! The packages, each on a machine of its own, as one who administers it sees it. ZooKeeper is beside it.
//!
//! `make test-boot` makes the packages, installs what this needs, and starts it. It wants root.

#[path = "../harness/mod.rs"]
mod harness;

mod base;
mod deb;
mod machine;
mod rpm;
mod site;

use harness::Server;

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        println!("boot: test");
        return;
    }
    assert!(nix::unistd::geteuid().is_root(), "the boot test makes machines: start it as root");
    let server = Server::start();
    deb::is_installed_used_and_removed(&server);
    rpm::is_installed_used_and_removed(&server);
    println!("boot: well");
}
