//! Certificates that nobody else trusts, made with `openssl`, which comes with a JRE by way of the package
//! of certificates that it depends on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SETTINGS: &str = "\
[req]
distinguished_name = name
prompt = no
[name]
CN = twitcher's tests
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[holder]
basicConstraints = critical, CA:FALSE
subjectAltName = IP:127.0.0.1
";

/// Someone who signs certificates.
pub struct Authority {
    folder: PathBuf,
    name: String,
}

impl Authority {
    /// An authority of that name, with its files in this folder.
    pub fn new(folder: &Path, name: &str) -> Self {
        fs::write(folder.join("openssl.cnf"), SETTINGS).expect("settings for openssl");
        let authority = Self { folder: folder.to_owned(), name: name.to_owned() };
        authority.make(name, "authority", &[]);
        authority
    }

    /// Its certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join(format!("{}.pem", self.name))
    }

    /// The certificate of a holder of that name at 127.0.0.1, and its key.
    pub fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let file = |suffix: &str| self.folder.join(format!("{name}.{suffix}"));
        let own = |suffix: &str| format!("{}.{suffix}", self.name);
        self.make(name, "holder", &["-CA", &own("pem"), "-CAkey", &own("key")]);
        (file("pem"), file("key"))
    }

    /// The same in one file, as a server takes it.
    pub fn sign_in_one_file(&self, name: &str) -> PathBuf {
        let (certificate, key) = self.sign(name);
        let text = |path: PathBuf| fs::read_to_string(path).expect("a file in PEM");
        let both = self.folder.join(format!("{name}-and-key.pem"));
        fs::write(&both, text(key) + &text(certificate)).expect("a file in PEM");
        both
    }

    fn make(&self, name: &str, kind: &str, signed_by: &[&str]) {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-config", "openssl.cnf", "-extensions", kind, "-days", "2"]);
        command.args(["-newkey", "rsa:2048", "-noenc", "-subj", &format!("/CN={name}")]);
        command.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")]).args(signed_by);
        let made = command.current_dir(&self.folder).output().expect("openssl; 'make deps' installs it");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}
