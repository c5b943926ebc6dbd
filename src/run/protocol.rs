//! What the daemon and the minder say to each other. Pure: bytes in, messages out, and the other way.
//!
//! A message is a frame: the length of its header and the length of its payload, four bytes each, most
//! significant first; the header, which is JSON; the payload, which is bytes as they stand: a znode's
//! contents one way, a child's output the other.
//!
//! The daemon connects and says `Hello`, the minder answers `Welcome` with all that it minds, and from then
//! on either says what it has to say. A second connection takes the place of the first.
//!
//! A minder outlives the daemon that started it, so that the two may be of different releases. Whoever
//! changes this file keeps to it: fields and messages are added and never change their meaning, what is
//! added has a default, what is unknown is passed over. `PROTOCOL` rises with each addition, and neither
//! side says more than the other's number allows.

use std::borrow::Cow;
use std::path::PathBuf;

use bytes::{Buf, Bytes, BytesMut};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::schedule::order::{Applied, RunId, Usage};
use crate::watch::update::{Event, Version};

/// The number of this protocol.
pub const PROTOCOL: u32 = 2;

/// The folder of the minders' sockets below the run folder. Each socket is named for its minder's process id.
pub const FOLDER: &str = "minder";

/// The longest header that is taken, in bytes. A watch file is at most 1 MiB, and JSON escapes a byte with
/// six at the most.
pub const MAX_HEADER: usize = 8 << 20;

/// The largest payload that is taken, in bytes: well over what a ZooKeeper with a raised `jute.maxbuffer`
/// hands out in practice.
pub const MAX_PAYLOAD: usize = 64 << 20;

/// What the daemon says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum Request {
    /// The first message of a connection.
    Hello {
        /// The daemon's `PROTOCOL`.
        protocol: u32,
    },
    /// Start a run. The payload is what its stdin holds.
    Start(Box<Start>),
    /// The end of this run was taken note of; the minder may forget it.
    Noted {
        /// Which one.
        run: RunId,
    },
    /// End this run as its timeout would.
    End {
        /// Which one.
        run: RunId,
    },
    /// Send a signal to this run's process group, unless it has ended.
    Signal {
        /// Which one.
        run: RunId,
        /// What is sent.
        signal: i32,
    },
    /// Go on with the runs that minders which are gone have left. Answered by `Adopted`.
    Adopt,
    /// Another minder takes the orders from now on: exit when all runs are noted and no more output is to
    /// come, although there is a daemon.
    Retire,
    /// Something of a later release; passed over.
    #[serde(other)]
    Unknown,
}

/// What can be read from a frame's header.
pub trait Message: DeserializeOwned {
    /// Reads it.
    ///
    /// # Errors
    /// When it is none.
    fn read(header: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(header)
    }
}

impl Message for Report {}

impl Message for Request {
    /// Where the kind of a message stands among its fields, these are put aside until it is known. `Start` has many of
    /// them, and somebody waits for it: to look for the kind first and then to read it as what it is takes less than
    /// half as long.
    fn read(header: &[u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(borrow)]
            say: Cow<'a, str>,
        }

        let Kind { say } = serde_json::from_slice(header)?;
        if say == "start" {
            serde_json::from_slice(header).map(Self::Start)
        } else {
            serde_json::from_slice(header)
        }
    }
}

/// What the minder says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum Report {
    /// The answer to `Hello`.
    Welcome {
        /// The minder's `PROTOCOL`.
        protocol: u32,
        /// The binary that the minder runs.
        executable: Executable,
        /// Every run that it has not been told to forget: those that go on, and those that have ended,
        /// whose `Ended` follows.
        runs: Vec<Minded>,
    },
    /// A run's process was made. Whether it came to execute the command shows at its end.
    Started {
        /// Which one.
        run: RunId,
        /// Of its main process, which is its process group too.
        pid: i32,
    },
    /// A run printed the lines in the payload, each ended by a newline. May come after its `Ended`: what it
    /// left behind is listened to for a moment more.
    Output {
        /// Which one.
        run: RunId,
        /// The name of its watch.
        watch: String,
        /// What it printed before them that is not passed on.
        #[serde(default)]
        dropped: Dropped,
    },
    /// A run was sent SIGKILL and is still there, as a process that waits for a disk or a server is. It has
    /// not ended.
    Stuck {
        /// Which one.
        run: RunId,
        /// The name of its watch.
        watch: String,
    },
    /// A run has ended.
    Ended(Box<End>),
    /// The answer to `Adopt`.
    Adopted {
        /// What was found and is minded from now on: runs that go on, and those that have ended, whose
        /// `Ended` follows.
        runs: Vec<Minded>,
    },
    /// Something went wrong in the minder that no run shows.
    Trouble {
        /// For the log.
        message: String,
    },
    /// Something of a later release; passed over.
    #[serde(other)]
    Unknown,
}

/// A program with all that it needs to be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Names the run.
    pub run: RunId,
    /// Given back as it is.
    pub about: About,
    /// The program and its arguments; one without a slash is looked for in the `PATH` of `env`. Not empty.
    pub argv: Vec<String>,
    /// A text that is put into a file, whose path is the last argument.
    pub script: Option<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// The working directory, entered as the run's user.
    pub directory: PathBuf,
    /// The file mode creation mask.
    pub umask: u32,
    /// Who it runs as; `None`: as the minder.
    pub identity: Option<Identity>,
    /// Whether the payload is its stdin; else `/dev/null` is.
    pub stdin: bool,
    /// Where its stdout and stderr go.
    pub output: OutputTo,
    /// When it is to be ended, in milliseconds from its start.
    pub timeout_ms: Option<u64>,
    /// How long after the SIGTERM the SIGKILL comes, in milliseconds.
    pub kill_after_ms: u64,
}

/// What the daemon wants to know of a run when it is told of it, perhaps as another process than the one
/// that ordered it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The name of its watch.
    pub watch: String,
    /// The znode that it was given.
    pub znode: String,
    /// The update that it was given.
    pub event: Event,
    /// The state of the znode that it was given. A minder of protocol 1 does not give its `sign` back.
    pub version: Version,
    /// Which attempt it is, from 1.
    pub attempt: u32,
}

impl About {
    /// The znode and the state that it was given.
    #[must_use]
    pub fn given(&self) -> Applied {
        Applied { znode: self.znode.clone(), version: self.version }
    }
}

/// A user, a group and supplementary groups, by number. None is added to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The supplementary groups; `None`: those of the minder.
    pub groups: Option<Vec<u32>>,
}

/// Where a run's stdout and stderr go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputTo {
    /// To the daemon, line by line.
    Report,
    /// To `/dev/null`.
    Null,
    /// To the end of this file.
    Append(PathBuf),
}

/// A run that a minder has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minded {
    /// Which one.
    pub run: RunId,
    /// As it was given.
    pub about: About,
    /// Of its main process; `None` where it never had one.
    pub pid: Option<i32>,
}

/// The end of a run. The payload is the last of what it printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Which one.
    pub run: RunId,
    /// As it was given.
    pub about: About,
    /// Of its main process; `None` where it never had one.
    pub pid: Option<i32>,
    /// How it ended.
    pub ending: Ending,
    /// What it used; unknown for a run that could not be waited for.
    pub usage: Option<Usage>,
    /// When it was started, in milliseconds since 1970.
    pub started_ms: u64,
    /// From its start to its end, in microseconds.
    pub lasted_us: u64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Its main process exited with this status.
    Exited(i32),
    /// Its main process was ended by this signal.
    Signaled(i32),
    /// Its time was over.
    TimedOut,
    /// It could not be started, and why.
    SpawnFailed(String),
    /// It is not known.
    Lost,
}

/// Output that is not passed on, since there was too much of it or nobody to take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Dropped {
    /// How many line ends were in it.
    pub lines: u64,
    /// How many bytes it was.
    pub bytes: u64,
}

/// Tells one build of the binary from another, also when it was replaced in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executable {
    /// The release, such as `0.1.0`.
    pub release: String,
    /// The file's device.
    pub device: u64,
    /// The file's inode.
    pub inode: u64,
    /// When it was last written, in nanoseconds since 1970. Not when its inode last changed: that it is
    /// unlinked, as an upgrade does to it, makes no other program of it.
    pub written_ns: i64,
}

/// Why bytes are not a message. The connection is of no use afterwards.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The frame says that it is longer than any may be.
    #[error("a frame of {header} + {payload} bytes is too long")]
    TooLong {
        /// The header's length.
        header: usize,
        /// The payload's length.
        payload: usize,
    },
    /// The header is not a message.
    #[error("a frame's header cannot be read: {0}")]
    Header(#[from] serde_json::Error),
}

/// A message as a frame, ready to be written.
///
/// # Errors
/// When it is longer than the other side would take.
pub fn encode(message: &impl Serialize, payload: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut frame = vec![0; 8];
    serde_json::to_writer(&mut frame, message)?;
    let header = frame.len() - 8;
    match (u32::try_from(header), u32::try_from(payload.len())) {
        (Ok(head), Ok(pay)) if header <= MAX_HEADER && payload.len() <= MAX_PAYLOAD => {
            frame[..4].copy_from_slice(&head.to_be_bytes());
            frame[4..8].copy_from_slice(&pay.to_be_bytes());
            frame.extend_from_slice(payload);
            Ok(frame)
        }
        _ => Err(DecodeError::TooLong { header, payload: payload.len() }),
    }
}

/// Puts messages together from bytes that come in pieces.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: BytesMut,
}

impl Decoder {
    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message that is whole, with its payload.
    ///
    /// # Errors
    /// When what was read cannot be a message; nothing that follows it can be told apart.
    pub fn next_message<M: Message>(&mut self) -> Result<Option<(M, Bytes)>, DecodeError> {
        let Some(lengths) = self.bytes.get(..8) else { return Ok(None) };
        let mut lengths = lengths;
        let (header, payload) = (lengths.get_u32() as usize, lengths.get_u32() as usize);
        if header > MAX_HEADER || payload > MAX_PAYLOAD {
            return Err(DecodeError::TooLong { header, payload });
        }
        if self.bytes.len() < 8 + header + payload {
            return Ok(None);
        }
        self.bytes.advance(8);
        let message = M::read(&self.bytes.split_to(header))?;
        let payload = self.bytes.split_to(payload).freeze();
        if self.bytes.is_empty() {
            // Else the room of the largest message ever read would be held for good.
            self.bytes = BytesMut::new();
        }
        Ok(Some((message, payload)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noted(run: u64) -> Request {
        Request::Noted { run: format!("{run:x}").parse().unwrap() }
    }

    #[test]
    fn messages_come_out_as_they_went_in_however_the_bytes_are_cut() {
        let mut stream = encode(&Request::Hello { protocol: PROTOCOL }, b"").unwrap();
        stream.extend(encode(&noted(7), b"payload\0\xff").unwrap());
        for piece in 1..stream.len() {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for bytes in stream.chunks(piece) {
                decoder.push(bytes);
                while let Some(message) = decoder.next_message::<Request>().unwrap() {
                    seen.push(message);
                }
            }
            let expected = [
                (Request::Hello { protocol: PROTOCOL }, Bytes::new()),
                (noted(7), Bytes::from_static(b"payload\0\xff")),
            ];
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn a_field_of_a_later_release_is_passed_over() {
        let header = br#"{"say":"hello","protocol":9,"colour":"red"}"#;
        let mut decoder = Decoder::default();
        decoder.push(&u32::try_from(header.len()).unwrap().to_be_bytes());
        decoder.push(&[0; 4]);
        decoder.push(header);
        let (message, _) = decoder.next_message::<Request>().unwrap().unwrap();
        assert_eq!(message, Request::Hello { protocol: 9 });
    }

    #[test]
    fn a_message_of_a_later_release_is_passed_over() {
        let mut decoder = Decoder::default();
        let header = br#"{"say":"sing","song":[1,2]}"#;
        decoder.push(&[0, 0, 0, u8::try_from(header.len()).unwrap(), 0, 0, 0, 0]);
        decoder.push(header);
        let (message, _) = decoder.next_message::<Report>().unwrap().unwrap();
        assert_eq!(message, Report::Unknown);
    }

    #[test]
    fn a_frame_that_claims_to_be_huge_is_refused_before_it_is_waited_for() {
        let mut decoder = Decoder::default();
        decoder.push(&[0xff; 8]);
        assert!(matches!(decoder.next_message::<Request>(), Err(DecodeError::TooLong { .. })));
    }

    #[test]
    fn a_welcome_reads_back() {
        let executable =
            Executable { release: "0.1.0".into(), device: 1, inode: u64::MAX, written_ns: i64::MAX };
        let welcome = Report::Welcome { protocol: PROTOCOL, executable, runs: vec![] };
        let mut decoder = Decoder::default();
        decoder.push(&encode(&welcome, b"").unwrap());
        assert_eq!(decoder.next_message::<Report>().unwrap().unwrap().0, welcome);
    }

    fn start(run: u64, words: Vec<String>) -> Start {
        Start {
            run: RunId::from_u64(run),
            about: About {
                watch: "a".into(),
                znode: "/a".into(),
                event: Event::Loaded,
                version: Version::default(),
                attempt: 1,
            },
            script: words.first().cloned(),
            env: words.iter().map(|word| (word.clone(), word.clone())).collect(),
            argv: words,
            directory: "/".into(),
            umask: 0o022,
            identity: Some(Identity { uid: 1, gid: 2, groups: Some(vec![3]) }),
            stdin: true,
            output: OutputTo::Append("/dev/null".into()),
            timeout_ms: Some(run),
            kill_after_ms: run,
        }
    }

    fn requests() -> impl Strategy<Value = Vec<(Request, Vec<u8>)>> {
        let words = prop::collection::vec(any::<String>(), 0..4);
        let request = prop_oneof![
            any::<u32>().prop_map(|protocol| Request::Hello { protocol }),
            (any::<u64>(), words).prop_map(|(run, words)| Request::Start(Box::new(start(run, words)))),
            any::<u64>().prop_map(|run| Request::Noted { run: RunId::from_u64(run) }),
            any::<u64>().prop_map(|run| Request::End { run: RunId::from_u64(run) }),
            Just(Request::Adopt),
            Just(Request::Retire),
        ];
        prop::collection::vec((request, prop::collection::vec(any::<u8>(), 0..64)), 1..5)
    }

    fn stream_of(requests: &[(Request, Vec<u8>)]) -> Vec<u8> {
        requests.iter().flat_map(|(request, payload)| encode(request, payload).unwrap()).collect()
    }

    /// What comes of a stream that is read in pieces of this size, and whether it came to an error.
    fn read_in_pieces(stream: &[u8], piece: usize) -> (Vec<(Request, Vec<u8>)>, bool) {
        let mut decoder = Decoder::default();
        let mut read = Vec::new();
        for bytes in stream.chunks(piece) {
            decoder.push(bytes);
            loop {
                match decoder.next_message::<Request>() {
                    Ok(Some((request, payload))) => read.push((request, payload.to_vec())),
                    Ok(None) => break,
                    Err(_) => return (read, true),
                }
            }
        }
        (read, false)
    }

    /// Something that happens to a stream on its way; positions are parts of its length.
    #[derive(Debug, Clone)]
    enum Mutation {
        Flip(prop::sample::Index, u8),
        Insert(prop::sample::Index, Vec<u8>),
        Remove(prop::sample::Index, usize),
        /// A piece comes twice.
        Repeat(prop::sample::Index, usize),
        /// A length, perhaps, that is as large as it can be said.
        Exaggerate(prop::sample::Index),
    }

    fn mutation() -> impl Strategy<Value = Mutation> {
        let at = any::<prop::sample::Index>;
        prop_oneof![
            (at(), 1u8..).prop_map(|(at, by)| Mutation::Flip(at, by)),
            (at(), prop::collection::vec(any::<u8>(), 1..20))
                .prop_map(|(at, some)| Mutation::Insert(at, some)),
            (at(), 1usize..20).prop_map(|(at, some)| Mutation::Remove(at, some)),
            (at(), 1usize..200).prop_map(|(at, some)| Mutation::Repeat(at, some)),
            at().prop_map(Mutation::Exaggerate),
        ]
    }

    fn mutate(stream: &mut Vec<u8>, mutation: &Mutation) {
        match mutation {
            _ if stream.is_empty() => {}
            Mutation::Flip(at, by) => {
                let at = at.index(stream.len());
                stream[at] ^= by;
            }
            Mutation::Insert(at, some) => {
                let at = at.index(stream.len());
                stream.splice(at..at, some.iter().copied());
            }
            Mutation::Remove(at, some) => {
                let at = at.index(stream.len());
                stream.drain(at..(at + some).min(stream.len()));
            }
            Mutation::Repeat(at, some) => {
                let at = at.index(stream.len());
                let piece = stream[at..(at + some).min(stream.len())].to_vec();
                stream.splice(at..at, piece);
            }
            Mutation::Exaggerate(at) => {
                let at = at.index(stream.len());
                let end = (at + 4).min(stream.len());
                stream[at..end].fill(0xff);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn what_was_said_is_what_is_read(requests in requests(), piece in 1usize..100) {
            let (read, failed) = read_in_pieces(&stream_of(&requests), piece);
            prop_assert!(!failed);
            prop_assert_eq!(read, requests);
        }

        #[test]
        fn a_stream_that_is_damaged_is_read_the_same_however_it_is_cut_and_up_to_the_damage_as_it_was(
            requests in requests(),
            mutations in prop::collection::vec(mutation(), 1..4),
            piece in 1usize..100,
        ) {
            let whole = stream_of(&requests);
            let mut damaged = whole.clone();
            mutations.iter().for_each(|mutation| mutate(&mut damaged, mutation));
            let at_once = read_in_pieces(&damaged, damaged.len().max(1));
            prop_assert_eq!(&read_in_pieces(&damaged, piece), &at_once);
            let same = whole.iter().zip(&damaged).take_while(|(whole, damaged)| whole == damaged).count();
            let mut end = 0;
            for (number, (request, payload)) in requests.iter().enumerate() {
                end += encode(request, payload).unwrap().len();
                if end <= same {
                    prop_assert_eq!(at_once.0.get(number), Some(&requests[number]));
                }
            }
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), header in 0u8..60) {
            let mut decoder = Decoder::default();
            decoder.push(&[0, 0, 0, header, 0, 0, 0, 0]);
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_message::<Request>() {}
        }
    }
}
