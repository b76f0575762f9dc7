//! Sessions that run, before a stream that tells back what it hears.

use std::sync::Arc;

use futures_util::stream;
use hearth_engine::{Access, Backing, ManualClock, Options, Projects};

use super::*;
use crate::status::Code;
use crate::webchannel::form::Body;

fn channels(limits: impl FnOnce(&mut Limits), links_max: usize) -> Channels {
    let engine_limits = hearth_engine::Limits { links_max, ..Default::default() };
    let options =
        Options { limits: engine_limits, access: Access::Open, projects: Projects::Any, default_project: None };
    let (engine, _) = Engine::start(Backing::Memory, options, Arc::new(ManualClock::at(1_000_000))).unwrap();
    let mut session = Limits::new(1 << 20, 1 << 20);
    limits(&mut session);
    Channels::new(engine, session)
}

/// Tells back what it hears, fails at `fail`, ends at `end`.
fn echo(requests: mpsc::Receiver<String>) -> Texts {
    stream::unfold(requests, async |mut requests: mpsc::Receiver<String>| {
        let text = match requests.recv().await?.as_str() {
            "end" => return None,
            "fail" => Err(Refusal::new(Code::NotFound, "nothing there")),
            text => Ok(format!("{{\"heard\":{text}}}")),
        };
        Some((text, requests))
    })
    .boxed()
}

fn maps(offset: u64, texts: &[&str]) -> Maps {
    let fields: String = texts.iter().enumerate().map(|(n, text)| format!("&req{n}___data__={text}")).collect();
    Body::parse(format!("count={}&ofs={offset}{fields}", texts.len()).as_bytes()).unwrap().maps
}

async fn receive(channels: &Channels, sid: &str, ack: u64, way: Way) -> mpsc::Receiver<Bytes> {
    match channels.ask(Kind::Listen, sid, What::Receive { ack: Some(ack), way }).await.unwrap() {
        Answer::Chunks(chunks) => chunks,
        Answer::Text(text) => panic!("{text}"),
    }
}

async fn send(channels: &Channels, sid: &str, offset: u64, texts: &[&str]) -> String {
    let what = What::Send { ack: None, maps: maps(offset, texts) };
    match channels.ask(Kind::Listen, sid, what).await.unwrap() {
        Answer::Text(text) => text.replace('\n', " "),
        Answer::Chunks(_) => panic!("an answer to a POST"),
    }
}

async fn chunk(chunks: &mut mpsc::Receiver<Bytes>) -> String {
    let bytes = chunks.recv().await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap().replace('\n', " ")
}

#[tokio::test]
async fn what_a_client_sends_is_heard_and_what_the_stream_says_is_received() {
    let channels = channels(|_| {}, 9);
    let opened = channels.open(Kind::Listen, maps(0, &["1"]), echo).unwrap();
    assert_eq!(opened.text, format!("48\n[[0,[\"c\",\"{}\",\"\",8,14,30000]]]", opened.sid));
    let poll = Way::Poll { hold: None };
    let mut first = receive(&channels, &opened.sid, 0, poll).await;
    assert_eq!(chunk(&mut first).await, r#"19 [[1,[{"heard":1}]]]"#);
    assert_eq!(first.recv().await, None);
    let mut second = receive(&channels, &opened.sid, 1, Way::Stream).await;
    assert_eq!(send(&channels, &opened.sid, 1, &["2"]).await, "7 [1,1,0]");
    assert_eq!(chunk(&mut second).await, r#"19 [[2,[{"heard":2}]]]"#);
    assert_eq!(send(&channels, &opened.sid, 2, &["3"]).await, "8 [1,2,13]");
    assert_eq!(chunk(&mut second).await, r#"19 [[3,[{"heard":3}]]]"#);
}

#[tokio::test]
async fn a_client_that_hangs_up_is_told_again_what_it_missed() {
    let channels = channels(|_| {}, 9);
    let opened = channels.open(Kind::Listen, Maps::default(), echo).unwrap();
    let mut first = receive(&channels, &opened.sid, 0, Way::Stream).await;
    assert_eq!(chunk(&mut first).await, r#"14 [[1,["noop"]]]"#);
    send(&channels, &opened.sid, 0, &["1"]).await;
    assert_eq!(chunk(&mut first).await, r#"19 [[2,[{"heard":1}]]]"#);
    drop(first);
    let mut second = receive(&channels, &opened.sid, 1, Way::Stream).await;
    assert_eq!(chunk(&mut second).await, r#"19 [[2,[{"heard":1}]]]"#);
    // And a second one that comes while the first is open ends it.
    let mut third = receive(&channels, &opened.sid, 1, Way::Stream).await;
    assert_eq!(second.recv().await, None);
    assert_eq!(chunk(&mut third).await, r#"19 [[2,[{"heard":1}]]]"#);
}

#[tokio::test]
async fn a_stream_that_fails_is_told_and_then_nothing_is_heard() {
    let channels = channels(|_| {}, 9);
    let opened = channels.open(Kind::Listen, maps(0, &["1", "fail", "2"]), echo).unwrap();
    let mut all = String::new();
    let mut ack = 0;
    while !all.contains("nothing there") {
        let mut answer = receive(&channels, &opened.sid, ack, Way::Poll { hold: None }).await;
        let chunk = chunk(&mut answer).await;
        ack += chunk.matches("[{").count() as u64;
        all.push_str(&chunk);
    }
    assert!(all.contains(r#"[{"heard":1}]"#) && !all.contains(r#""heard":2"#), "{all}");
    assert!(all.contains(r#"{"error":{"code":404,"message":"nothing there","status":"NOT_FOUND"}}"#), "{all}");
    assert_eq!(send(&channels, &opened.sid, 3, &["3"]).await.split(',').next(), Some("8 [0"));
}

#[tokio::test]
async fn a_session_that_is_ended_is_unknown_and_its_answer_ends() {
    let channels = channels(|_| {}, 9);
    let opened = channels.open(Kind::Listen, Maps::default(), echo).unwrap();
    let mut answer = receive(&channels, &opened.sid, 0, Way::Stream).await;
    chunk(&mut answer).await;
    channels.ask(Kind::Listen, &opened.sid, What::End).await.unwrap();
    assert_eq!(answer.recv().await, None);
    let error = channels.ask(Kind::Listen, &opened.sid, What::End).await.unwrap_err();
    assert_eq!(error, AskError::Unknown);
}

#[tokio::test]
async fn a_session_is_of_one_kind_and_only_its_id_leads_to_it() {
    let channels = channels(|_| {}, 1);
    let opened = channels.open(Kind::Listen, Maps::default(), echo).unwrap();
    assert_eq!(channels.open(Kind::Listen, Maps::default(), echo), Err(AskError::TooMany));
    for (kind, sid) in [(Kind::Write, &*opened.sid), (Kind::Listen, "other"), (Kind::Listen, "")] {
        let error = channels.ask(kind, sid, What::End).await.unwrap_err();
        assert_eq!(error, AskError::Unknown);
    }
}

#[tokio::test]
async fn a_session_without_contact_ends_with_its_stream() {
    let channels = channels(|limits| limits.idle_max = Duration::from_millis(1), 9);
    let (sender, mut dropped) = mpsc::channel::<()>(1);
    let stream = |requests| {
        echo(requests)
            .map(move |text| {
                let _held = &sender;
                text
            })
            .boxed()
    };
    let opened = channels.open(Kind::Listen, Maps::default(), stream).unwrap();
    assert_eq!(dropped.recv().await, None);
    let error = channels.ask(Kind::Listen, &opened.sid, What::End).await.unwrap_err();
    assert_eq!(error, AskError::Unknown);
}
