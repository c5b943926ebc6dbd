//! Speaks HTTP over the socket, on a thread and a runtime of its own: a client that is slow, silent or many takes
//! nothing from what the daemon is for.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::unistd::{Gid, Uid};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::api::Problem;
use super::desk::Desk;
use super::peer::Peer;
use super::printed::{self, Whose};
use super::route::{Route, methods, route};
use super::socket;
use crate::record::events::{Event, EventId, Subscription, Told};
use crate::record::history::Output;
use crate::record::metrics::exposition;

/// How many connections there may be at once. More are let in as others go.
const CONNECTIONS: usize = 256;

/// How long a client may take to say what it wants, also between two requests.
const SILENCE: Duration = Duration::from_secs(10);

/// How much of a request's body is read; no request needs one.
const MOST_BODY: u64 = 64 << 10;

/// How often a client that follows events hears something when there are none, so that it is noticed when it
/// has gone.
const STILL_THERE: Duration = Duration::from_secs(15);

const TEXT: &str = "text/plain; charset=utf-8";

/// How long one who is not known may take from the connection to the last of the answer.
const STRANGER: Duration = Duration::from_secs(30);

/// What is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// Everything, to somebody who may use the socket.
    Everything {
        /// Who that is.
        by: Uid,
    },
    /// What only tells how the daemon does, to whoever asks, one request to a connection.
    Readings,
}

impl Offer {
    fn has(self, route: &Route) -> bool {
        matches!(self, Self::Everything { .. })
            || matches!(route, Route::Metrics | Route::Live | Route::Ready)
    }

    /// Who asks for something to be done.
    fn by(self) -> Result<Uid, Problem> {
        match self {
            Self::Everything { by } => Ok(by),
            Self::Readings => Err(Problem::new(403, "not allowed", "nothing can be changed from here")),
        }
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// Serves root, the daemon's user and the members of `group` until `stop`, on a thread of its own. The socket is there
/// when this returns.
///
/// # Errors
/// When there can be no socket, or no thread.
pub fn start(
    run_dir: &Path,
    group: Option<Gid>,
    desk: Desk,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let listener = socket::listen(run_dir, group)?;
    let socket = run_dir.join(socket::NAME);
    thread::Builder::new().name("control".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(async {
                let listener = match UnixListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => return warn!("cannot serve the control socket: {error}"),
                };
                let accept = async || {
                    let (stream, _) = listener.accept().await?;
                    let by = Peer::of(&stream).ok().filter(|peer| peer.may_use(group));
                    Ok(by.map(|peer| (stream, Offer::Everything { by: Uid::from_raw(peer.uid()) })))
                };
                serve(accept, desk, stop).await;
            }),
            Err(error) => warn!("cannot serve the control socket: {error}"),
        }
        let _ = std::fs::remove_file(socket);
    })
}

/// Serves those who are let in, until `stop`. Of who connects `accept` gives the stream and what is for them, or `None`
/// where nobody is to be listened to.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    accept: impl AsyncFn() -> io::Result<Option<(S, Offer)>>,
    desk: Desk,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (accept().await, place)
        };
        let ((stream, offer), place) = tokio::select! {
            () = stop.cancelled() => return,
            (accepted, place) = accepted => match accepted {
                Ok(Some(stream)) => (stream, place),
                Ok(None) => continue,
                Err(error) => {
                    // Such as too many open files, which passes.
                    debug!("cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (desk, stop) = (desk.clone(), stop.clone());
        tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                () = converse(stream, desk, offer) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, desk: Desk, offer: Offer) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(SILENCE).max_buf_size(32 << 10);
    http.keep_alive(offer != Offer::Readings);
    let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request, &desk, offer).await) });
    let connection = http.serve_connection(TokioIo::new(stream), service);
    let ended = match offer {
        Offer::Everything { .. } => connection.await,
        // Else who asks and never reads would keep a place for ever.
        Offer::Readings => timeout(STRANGER, connection).await.unwrap_or(Ok(())),
    };
    if let Err(error) = ended {
        debug!("a connection of a client ended: {error}");
    }
}

async fn answer(request: Request<Incoming>, desk: &Desk, offer: Offer) -> Answer {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let answered = async {
        read_to_the_end(body).await?;
        let route = route(head.method.as_str(), path, head.uri.query())?;
        if !offer.has(&route) {
            return Err(Problem::no_resource(path));
        }
        perform(route, offer, desk).await
    };
    let mut answer = answered.await.unwrap_or_else(|problem| refuse(&problem));
    if answer.status() == StatusCode::METHOD_NOT_ALLOWED
        && let Ok(allowed) = methods(path).join(", ").try_into()
    {
        answer.headers_mut().insert(ALLOW, allowed);
    }
    answer
}

/// No request has a body that matters, but one that is sent has to be read before there is an answer.
async fn read_to_the_end(mut body: Incoming) -> Result<(), Problem> {
    let too_much = || Problem::new(413, "body too large", "no request has a body");
    if body.size_hint().lower() > MOST_BODY {
        return Err(too_much());
    }
    let read = async {
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Problem::new(400, "broken body", error.to_string()))?;
            length += frame.data_ref().map_or(0, Bytes::len) as u64;
            if length > MOST_BODY {
                return Err(too_much());
            }
        }
        Ok(())
    };
    let late = |_| Problem::new(408, "body too slow", "no request has a body");
    timeout(SILENCE, read).await.map_err(late)?
}

async fn perform(route: Route, offer: Offer, desk: &Desk) -> Result<Answer, Problem> {
    let by = offer.by();
    match route {
        Route::Live => Ok(text("alive\n")),
        Route::Ready if desk.is_ready() => Ok(text("ready\n")),
        Route::Ready => Err(Problem::new(503, "not ready", "not all that is watched was looked at")),
        Route::Metrics => Ok(bytes(desk.metrics().await?.into(), exposition::CONTENT_TYPE)),
        Route::Status => json(&desk.status().await?),
        Route::Watches => json(&desk.watches().await?),
        Route::Watch(name) => json(&desk.watch(&name).await?),
        Route::Runs(name) => json(&desk.runs(&name).await?),
        Route::Output { run, follow } => {
            let found = desk.records.follow_output(run).await;
            let none =
                || Problem::new(404, "no output", format!("nothing is kept of what run {run} has printed"));
            let (output, live) = found.ok_or_else(none)?;
            Ok(printed(desk, Whose::Run(run), Some(output), live, follow))
        }
        Route::WatchOutput { watch, follow } => {
            let (output, live) = desk.follow_output(&watch, follow).await?;
            Ok(printed(desk, Whose::Watch(watch), output, live, follow))
        }
        Route::Events { after, follow } => Ok(events(desk, after, follow).await),
        Route::Fire { watch, wait } => json(&desk.fire(&watch, wait, by?).await?),
        Route::Pause(watch) => json(&desk.pause(&watch, by?).await?),
        Route::Resume(watch) => json(&desk.resume(&watch, by?).await?),
        Route::Kill { watch, signal } => json(&desk.kill(&watch, signal, by?).await?),
        Route::Reload => json(&desk.reload().await?),
    }
}

/// What was printed, and with `follow` what is.
fn printed(desk: &Desk, whose: Whose, output: Option<Output>, live: Subscription, follow: bool) -> Answer {
    if !follow {
        return bytes(output.map(|output| output.text).unwrap_or_default(), TEXT);
    }
    let (parts, body) = mpsc::channel(16);
    tokio::spawn(printed::follow(whose, output, live, desk.records.clone(), parts));
    streamed(body, TEXT)
}

/// Server-sent events: `id` is what `after` takes, `data` the event as JSON. Where some are missing, since they
/// are no longer kept or the client was too slow, there is one named `missed` without an id.
async fn events(desk: &Desk, after: Option<u64>, follow: bool) -> Answer {
    let (frames, body) = mpsc::channel(16);
    let following = desk.records.follow(after.map(EventId::from_u64)).await;
    tokio::spawn(async move {
        let Some(mut following) = following else { return };
        // Somebody who names no event wants to know what happens from now on.
        let past = if after.is_some() || !follow { following.past } else { Vec::new() };
        if after.is_some() && following.is_missing_some && frames.send(missed(None)).await.is_err() {
            return;
        }
        for event in past {
            if frames.send(frame(&event)).await.is_err() {
                return;
            }
        }
        if !follow {
            return;
        }
        loop {
            let next = match timeout(STILL_THERE, following.live.next()).await {
                Ok(Some(Told::Event(event))) => frame(&event),
                Ok(Some(Told::Missed(count))) => missed(Some(count)),
                Ok(None) => return,
                Err(_) => Bytes::from_static(b":\n\n"),
            };
            if frames.send(next).await.is_err() {
                return;
            }
        }
    });
    streamed(body, "text/event-stream")
}

fn streamed(body: mpsc::Receiver<Bytes>, content_type: &'static str) -> Answer {
    let mut answer = Response::new(Frames(body).boxed());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

fn frame(event: &Event) -> Bytes {
    let mut text = format!("id: {}\n", event.id.as_u64());
    // JSON has no line breaks of its own.
    let _ = writeln!(text, "data: {}\n", serde_json::to_string(event).unwrap_or_default());
    text.into()
}

fn missed(count: Option<u64>) -> Bytes {
    format!("event: missed\ndata: {}\n\n", serde_json::json!({ "count": count })).into()
}

/// A body whose parts come one by one.
struct Frames(mpsc::Receiver<Bytes>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}

fn text(text: &'static str) -> Answer {
    bytes(Bytes::from_static(text.as_bytes()), TEXT)
}

fn bytes(bytes: Bytes, content_type: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(bytes).boxed());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

fn json(body: &impl Serialize) -> Result<Answer, Problem> {
    let mut text = serde_json::to_vec(body).map_err(|error| Problem::new(500, "bug", error.to_string()))?;
    text.push(b'\n');
    Ok(bytes(text.into(), "application/json"))
}

fn refuse(problem: &Problem) -> Answer {
    let text = serde_json::to_vec(problem).unwrap_or_default();
    let mut answer = bytes(text.into(), "application/problem+json");
    *answer.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::sync::watch;
    use tokio::time::Instant;

    use super::*;
    use crate::control::desk::{About, Wrong};
    use crate::record::reader::reader;
    use crate::record::writer::LostLines;
    use crate::watch::hub::reports;

    /// One whose parts are gone: health is told all the same.
    fn desk() -> Desk {
        let (host, servers, started) = (String::new(), String::new(), jiff::Timestamp::UNIX_EPOCH);
        Desk {
            about: About { host, servers, config_dir: "/".into(), started },
            hub: mpsc::channel(1).0,
            scheduler: mpsc::channel(1).0,
            loader: mpsc::channel(1).0,
            readings: reports().1,
            wrong: watch::channel(Wrong::default()).1,
            records: reader().0,
            last_fire: Arc::default(),
            scrape: Arc::new(Semaphore::new(1)),
            lost_lines: LostLines::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_that_does_not_read_its_answer_is_let_go() {
        let (mut client, served) = duplex(64);
        let began = Instant::now();
        let conversation = tokio::spawn(converse(served, desk(), Offer::Readings));
        client.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        conversation.await.unwrap();
        assert_eq!(began.elapsed(), STRANGER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_has_one_answer_to_a_connection() {
        let (mut client, served) = duplex(64);
        let conversation = tokio::spawn(converse(served, desk(), Offer::Readings));
        client.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nalive\n"), "{answer}");
        conversation.await.unwrap();
    }
}
