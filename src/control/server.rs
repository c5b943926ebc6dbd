//! Speaks HTTP over the socket, on a thread and a runtime of its own, so that a client that is slow, silent or many is
//! waited for by nobody else.

use std::cell::Cell;
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
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::api::Problem;
use super::desk::Desk;
use super::peer::Peer;
use super::places::{Lingering, Offer, Places, Refusal};
use super::printed::{self, Whose};
use super::route::{Route, Wait, methods, route};
use super::socket;
use super::stall::Unstalled;
use crate::config::spec::WatchName;
use crate::record::events::{Event, Following, Subscription, Told};
use crate::record::history::Output;
use crate::record::metrics::exposition;

/// How often it is logged that somebody was refused.
const SAID_AGAIN: Duration = Duration::from_secs(60);

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
                let said = Cell::new(None);
                let accept = async || {
                    let (stream, _) = listener.accept().await?;
                    let offer = match Peer::of(&stream) {
                        Ok(peer) if peer.may_use(group) => {
                            Offer::Everything { by: Uid::from_raw(peer.uid()) }
                        }
                        Ok(peer) => {
                            say_refused(peer, &said);
                            Offer::Nothing(Refusal::NotAllowed)
                        }
                        Err(_) => Offer::Nothing(Refusal::NotAllowed),
                    };
                    Ok((stream, offer))
                };
                serve(accept, desk, stop).await;
            }),
            Err(error) => warn!("cannot serve the control socket: {error}"),
        }
        let _ = std::fs::remove_file(socket);
    })
}

/// Whoever is refused may come again and again.
fn say_refused(peer: Peer, said: &Cell<Option<Instant>>) {
    if said.get().is_none_or(|said| said.elapsed() >= SAID_AGAIN) {
        said.set(Some(Instant::now()));
        warn!(uid = peer.uid(), "refused somebody at the control socket: it is not theirs to use");
    }
}

/// Serves those who are let in, until `stop`. Of who connects `accept` gives the stream and what is for them.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    accept: impl AsyncFn() -> io::Result<(S, Offer)>,
    desk: Desk,
    stop: CancellationToken,
) {
    let places = Places::default();
    loop {
        let accepted = async {
            let place = Arc::clone(&places.all).acquire_owned().await.map_err(io::Error::other)?;
            let (stream, offer) = accept().await?;
            Ok::<_, io::Error>((stream, places.seat(place, offer)))
        };
        let (stream, offer, held) = tokio::select! {
            () = stop.cancelled() => return,
            accepted = accepted => match accepted {
                Ok((stream, Some((offer, held)))) => (stream, offer, held),
                Ok((_, None)) => continue,
                Err(error) => {
                    // Such as too many open files, which passes.
                    debug!("cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (desk, lingering, stop) = (desk.clone(), places.lingering.clone(), stop.clone());
        tokio::spawn(async move {
            let _held = held;
            tokio::select! {
                () = converse(stream, desk, lingering, offer) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    desk: Desk,
    lingering: Lingering,
    offer: Offer,
) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(SILENCE).max_buf_size(32 << 10);
    http.keep_alive(matches!(offer, Offer::Everything { .. }));
    let service =
        service_fn(|request| async { Ok::<_, Infallible>(answer(request, &desk, &lingering, offer).await) });
    let connection = http.serve_connection(TokioIo::new(Unstalled::new(stream)), service);
    let ended = match offer {
        Offer::Everything { .. } => connection.await,
        // Else who reads a byte now and then would keep a place for ever.
        Offer::Readings | Offer::Nothing(_) => timeout(STRANGER, connection).await.unwrap_or(Ok(())),
    };
    if let Err(error) = ended {
        debug!("a connection of a client ended: {error}");
    }
}

async fn answer(request: Request<Incoming>, desk: &Desk, lingering: &Lingering, offer: Offer) -> Answer {
    if let Offer::Nothing(refusal) = offer {
        return refuse(&refusal.problem());
    }
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let answered = async {
        read_to_the_end(body).await?;
        let route = route(head.method.as_str(), path, head.uri.query())?;
        if !offer.has(&route) {
            return Err(Problem::no_resource(path));
        }
        perform(route, offer, desk, lingering).await
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

async fn perform(route: Route, offer: Offer, desk: &Desk, lingering: &Lingering) -> Result<Answer, Problem> {
    let by = offer.by();
    // Whoever is there for so long has a place for that as well, and leaves it when there is no more to be told.
    let lingers = match &route {
        Route::Output { follow, .. } | Route::WatchOutput { follow, .. } | Route::Events { follow, .. } => {
            *follow
        }
        Route::Fire { wait, .. } => *wait != Wait::No,
        Route::Live
        | Route::Ready
        | Route::Metrics
        | Route::Status
        | Route::Watches
        | Route::Watch(_)
        | Route::Runs(_)
        | Route::Pause(_)
        | Route::Resume(_)
        | Route::Kill { .. }
        | Route::Reload => false,
    };
    let place = match &by {
        Ok(by) if lingers => Some(lingering.place(*by)?),
        Ok(_) | Err(_) => None,
    };
    match route {
        Route::Live => Ok(text("alive\n")),
        Route::Ready if desk.is_ready() => Ok(text("ready\n")),
        Route::Ready => Err(Problem::new(503, "not ready", "not all that is watched was looked at")),
        Route::Metrics => Ok(bytes(desk.metrics(offer.age()).await?, exposition::CONTENT_TYPE)),
        Route::Status => json(&desk.status().await?),
        Route::Watches => json(&desk.watches().await?),
        Route::Watch(name) => json(&desk.watch(&name).await?),
        Route::Runs(name) => json(&desk.runs(&name).await?),
        Route::Output { run, follow: _ } => {
            let (output, live) = desk.follow_run(run).await?;
            Ok(printed(desk, Whose::Run(run), Some(output), live, place))
        }
        Route::WatchOutput { watch, follow } => {
            let (output, live) = desk.follow_output(&watch, follow).await?;
            Ok(printed(desk, Whose::Watch(watch), output, live, place))
        }
        Route::Events { after, last, watches, follow: _ } => {
            let mut following = desk.follow(after, &watches).await?;
            let past = &mut following.past;
            // Somebody who names neither and follows wants to know what happens from now on.
            let usual = if after.is_some() || place.is_none() { past.len() } else { 0 };
            let last = last.map_or(usual, |last| usize::try_from(last).unwrap_or(usize::MAX));
            past.drain(..past.len().saturating_sub(last));
            Ok(events(following, watches, place))
        }
        Route::Fire { watch, wait } => json(&desk.fire(&watch, wait, by?).await?),
        Route::Pause(watch) => json(&desk.pause(&watch, by?).await?),
        Route::Resume(watch) => json(&desk.resume(&watch, by?).await?),
        Route::Kill { watch, signal } => json(&desk.kill(&watch, signal, by?).await?),
        Route::Reload => json(&desk.reload().await?),
    }
}

/// What was printed, and for those who have a place to follow it what is.
fn printed(
    desk: &Desk,
    whose: Whose,
    output: Option<Output>,
    live: Subscription,
    place: Option<OwnedSemaphorePermit>,
) -> Answer {
    let Some(place) = place else {
        return bytes(output.map(|output| output.text).unwrap_or_default(), TEXT);
    };
    let (parts, body) = mpsc::channel(16);
    let records = desk.records.clone();
    tokio::spawn(async move {
        printed::follow(whose, output, live, records, parts).await;
        drop(place);
    });
    streamed(body, TEXT)
}

/// Server-sent events: `id` is what `after` takes, `data` the event as JSON. Where some are missing, since they
/// are no longer kept or the client was too slow, there is one named `missed` without an id. Those who have a place to
/// follow them are told of those to come.
fn events(mut following: Following, watches: Vec<WatchName>, place: Option<OwnedSemaphorePermit>) -> Answer {
    let (frames, body) = mpsc::channel(16);
    tokio::spawn(async move {
        if following.is_missing_some && frames.send(missed(None)).await.is_err() {
            return;
        }
        for event in following.past {
            if frames.send(frame(&event)).await.is_err() {
                return;
            }
        }
        let Some(_place) = place else { return };
        let mut heard = Instant::now();
        loop {
            let next = tokio::select! {
                () = frames.closed() => return,
                next = timeout_at(heard + STILL_THERE, following.live.next()) => next,
            };
            let next = match next {
                Ok(Some(Told::Event(event))) if !event.what.is_of_interest(&watches) => continue,
                Ok(Some(Told::Event(event))) => frame(&event),
                Ok(Some(Told::Missed(count))) => missed(Some(count)),
                Ok(None) => return,
                Err(_) => Bytes::from_static(b":\n\n"),
            };
            if frames.send(next).await.is_err() {
                return;
            }
            heard = Instant::now();
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::watch;

    use super::*;
    use crate::control::desk::{About, Wrong};
    use crate::control::places::{CONNECTIONS, LINGERING, ROOTS};
    use crate::control::stall::STALLED;
    use crate::control::survey::Survey;
    use crate::record::events::{Events, What};
    use crate::record::reader::{Request as AskedOfJournal, reader};
    use crate::record::writer::LostLines;
    use crate::schedule::order::RunId;
    use crate::watch::hub::reports;

    fn seen_by(offer: Offer) -> (DuplexStream, tokio::task::JoinHandle<()>) {
        let (client, served) = duplex(64);
        (client, tokio::spawn(converse(served, desk(), Places::default().lingering, offer)))
    }

    const ROOT: Offer = Offer::Everything { by: Uid::from_raw(0) };
    const OTHER: Offer = Offer::Everything { by: Uid::from_raw(1) };

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
            next_fire: Arc::default(),
            scenes: Survey::default(),
            exposition: Survey::default(),
            lost_lines: LostLines::default(),
        }
    }

    /// A client's connection at the door, and what it is told at its first request.
    async fn told(client: &mut DuplexStream) -> String {
        client.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_its_answer_is_let_go() {
        for (offer, limit) in [(Offer::Readings, STRANGER), (OTHER, STALLED), (ROOT, STALLED)] {
            let (mut client, conversation) = seen_by(offer);
            let began = Instant::now();
            client.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            timeout(STALLED * 10, conversation).await.unwrap().unwrap();
            assert_eq!(began.elapsed(), limit);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_but_reads_is_told_everything() {
        let (mut client, conversation) = seen_by(OTHER);
        client.write_all(b"GET /none HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while let Ok(byte) = client.read_u8().await {
            answer.push(byte);
            tokio::time::sleep(STALLED / 10).await;
        }
        conversation.await.unwrap();
        assert!(answer.ends_with(b"\"}"), "{}", String::from_utf8_lossy(&answer));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_has_one_answer_to_a_connection() {
        let (mut client, conversation) = seen_by(Offer::Readings);
        client.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nalive\n"), "{answer}");
        conversation.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn others_leave_places_for_root_and_those_who_are_refused_take_none() {
        let (door, at_door) = mpsc::channel(1);
        let at_door = tokio::sync::Mutex::new(at_door);
        let accept = async || at_door.lock().await.recv().await.ok_or_else(|| io::Error::other("over"));
        let come = async |offer| {
            let (client, served) = duplex(4096);
            door.send((served, offer)).await.unwrap();
            client
        };
        let stop = CancellationToken::new();
        let serving = serve(accept, desk(), stop.clone());
        let visiting = async {
            // They say nothing, as long as they may.
            let mut crowd = Vec::new();
            for _ in 0..CONNECTIONS - ROOTS {
                crowd.push(come(OTHER).await);
            }
            let refused = told(&mut come(OTHER).await).await;
            assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
            assert!(refused.contains("\"title\":\"too many connections\""), "{refused}");
            for _ in 0..CONNECTIONS {
                let refused = told(&mut come(Offer::Nothing(Refusal::NotAllowed)).await).await;
                assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
                assert!(refused.contains("content-type: application/problem+json"), "{refused}");
            }
            for _ in 0..ROOTS {
                let mut client = come(ROOT).await;
                assert!(told(&mut client).await.starts_with("HTTP/1.1 200 "));
                crowd.push(client);
            }
            crowd.pop();
            assert!(told(&mut come(ROOT).await).await.starts_with("HTTP/1.1 200 "));
            stop.cancel();
        };
        tokio::join!(serving, visiting);
    }

    /// A desk whose journal has nothing to tell but what happens from now on, which is nothing.
    fn desk_with_a_journal() -> (Desk, tokio::task::JoinHandle<()>) {
        let (records, mut asked) = reader();
        let journal = tokio::spawn(async move {
            let mut events = Events::new(std::time::SystemTime::now());
            while let Some(AskedOfJournal::Follow(since, reply)) = asked.recv().await {
                let _ = reply.send(events.follow(since));
            }
            events.tell(What::FileMended { file: "/a".into() }, std::time::SystemTime::now());
        });
        (Desk { records, ..desk() }, journal)
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_may_follow_and_one_that_has_gone_makes_room_at_once() {
        let (desk, _journal) = desk_with_a_journal();
        let lingering = Places::default().lingering;
        let events = || Route::Events { after: None, last: None, watches: Vec::new(), follow: true };
        let mut followers = Vec::new();
        for _ in 0..LINGERING {
            followers.push(perform(events(), OTHER, &desk, &lingering).await.unwrap());
        }
        let refused = perform(events(), OTHER, &desk, &lingering).await.unwrap_err();
        assert_eq!((refused.status, &*refused.title), (503, "too many who wait"));
        let fire = Route::Fire { watch: "a".try_into().unwrap(), wait: Wait::End };
        assert_eq!(perform(fire, OTHER, &desk, &lingering).await.unwrap_err().title, "too many who wait");
        assert!(perform(events(), ROOT, &desk, &lingering).await.is_ok());
        let past = Route::Events { after: None, last: None, watches: Vec::new(), follow: false };
        assert!(perform(past, OTHER, &desk, &lingering).await.is_ok());

        followers.clear();
        // Not when they would have been told that nothing happens.
        let all = async {
            for place in 0..LINGERING {
                while perform(events(), OTHER, &desk, &lingering)
                    .await
                    .map(|answer| followers.push(answer))
                    .is_err()
                {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                assert_eq!(followers.len(), place + 1);
            }
        };
        assert!(timeout(STILL_THERE / 2, all).await.is_ok());
    }

    #[tokio::test]
    async fn of_a_daemon_that_stops_it_is_said_that_it_does_and_not_that_there_is_nothing() {
        let watch = || "a".try_into().unwrap();
        for route in [
            Route::Events { after: None, last: None, watches: Vec::new(), follow: true },
            Route::Events { after: None, last: None, watches: Vec::new(), follow: false },
            Route::Output { run: RunId::from_u64(1), follow: false },
            Route::WatchOutput { watch: watch(), follow: true },
            Route::Runs(watch()),
            Route::Watch(watch()),
            Route::Status,
            Route::Metrics,
        ] {
            let refused = perform(route.clone(), ROOT, &desk(), &Places::default().lingering).await;
            let problem = refused.map(|answer| answer.status()).unwrap_err();
            assert_eq!((problem.status, &*problem.title), (503, "stopping"), "{route:?}");
        }
    }
}
