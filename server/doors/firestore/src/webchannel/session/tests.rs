//! A rule of the protocol each: what goes in, and what a client reads.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::status::Code;
use crate::webchannel::form::Body;

const POLL: Way = Way::Poll { hold: None };

fn limits() -> Limits {
    Limits { answer_bytes_max: 60, ..Limits::new(100, 10) }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn maps(offset: u64, texts: &[&str]) -> Maps {
    let fields: String = texts.iter().enumerate().map(|(n, text)| format!("&req{n}___data__={text}")).collect();
    Body::parse(format!("count={}&ofs={offset}{fields}", texts.len()).as_bytes()).unwrap().maps
}

fn opened() -> Channel {
    Channel::open(seconds(0), limits(), Maps::default())
}

/// A session on which a first answer has begun.
fn streaming() -> Channel {
    let mut channel = opened();
    channel.receive(seconds(0), Some(0), Way::Stream).unwrap();
    channel.write(seconds(0)).unwrap();
    channel
}

fn writes(channel: &mut Channel, now: u64, want: Expect) {
    want.assert_eq(&match channel.write(seconds(now)) {
        Some(Written { chunk, is_last }) => {
            format!("{}{}", chunk.replace('\n', " "), if is_last { " (last)" } else { "" })
        }
        None => "nothing".into(),
    });
}

fn sends(channel: &mut Channel, ack: Option<u64>, maps: Maps, want: Expect) {
    want.assert_eq(&match channel.send(seconds(0), ack, maps) {
        Ok(body) => body.replace('\n', " "),
        Err(lie) => format!("refused: {lie}"),
    });
}

fn receives(channel: &mut Channel, ack: Option<u64>, want: Expect) {
    want.assert_eq(&match channel.receive(seconds(0), ack, Way::Stream) {
        Ok(()) => "attached".into(),
        Err(lie) => format!("refused: {lie}"),
    });
}

fn heard(channel: &mut Channel) -> String {
    std::iter::from_fn(|| channel.message()).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_first_answer_names_the_session_in_array_0() {
    assert_eq!(opened().opening("s1"), "30\n[[0,[\"c\",\"s1\",\"\",8,14,30000]]]");
}

#[test]
fn messages_of_the_first_request_are_messages() {
    let mut channel = Channel::open(seconds(0), limits(), maps(0, &["a", "b"]));
    assert_eq!(heard(&mut channel), "a b");
    sends(&mut channel, Some(0), maps(2, &["c"]), expect!["7 [0,0,0]"]);
    assert_eq!(heard(&mut channel), "c");
}

#[test]
fn the_first_stream_begins_at_once_with_what_there_is_or_nothing() {
    let mut silent = opened();
    silent.receive(seconds(0), Some(0), Way::Stream).unwrap();
    writes(&mut silent, 0, expect![[r#"14 [[1,["noop"]]]"#]]);
    let mut loud = opened();
    loud.say("{}");
    loud.receive(seconds(0), Some(0), Way::Stream).unwrap();
    writes(&mut loud, 0, expect!["10 [[1,[{}]]]"]);
}

#[test]
fn what_comes_while_a_stream_is_attached_is_written_as_it_comes() {
    let mut channel = streaming();
    channel.say(r#"{"a":1}"#);
    writes(&mut channel, 1, expect![[r#"15 [[2,[{"a":1}]]]"#]]);
    channel.say("{}");
    channel.say(r#"{"é":"😀"}"#);
    writes(&mut channel, 1, expect![[r#"27 [[3,[{}]],[4,[{"é":"😀"}]]]"#]]);
    writes(&mut channel, 1, expect!["nothing"]);
}

#[test]
fn a_poll_ends_after_one_chunk() {
    let mut channel = opened();
    channel.receive(seconds(0), Some(0), POLL).unwrap();
    writes(&mut channel, 0, expect!["nothing"]);
    channel.say("1");
    channel.say("2");
    writes(&mut channel, 1, expect!["17 [[1,[1]],[2,[2]]] (last)"]);
    channel.say("3");
    writes(&mut channel, 1, expect!["nothing"]);
    channel.receive(seconds(1), Some(2), POLL).unwrap();
    writes(&mut channel, 1, expect!["9 [[3,[3]]] (last)"]);
}

#[test]
fn a_poll_without_news_ends_with_a_noop_when_its_time_is_over() {
    let mut channel = opened();
    channel.receive(seconds(0), Some(0), POLL).unwrap();
    channel.tick(seconds(29));
    writes(&mut channel, 29, expect!["nothing"]);
    assert_eq!(channel.wakes_at(), seconds(30));
    channel.tick(seconds(30));
    writes(&mut channel, 30, expect![[r#"14 [[1,["noop"]]] (last)"#]]);
    let hold = |millis| Way::Poll { hold: Some(Duration::from_millis(millis)) };
    for (asked, held) in [(5_000, 5), (0, 1), (u64::MAX, 60)] {
        channel.receive(seconds(100), Some(1), hold(asked)).unwrap();
        assert_eq!(channel.wakes_at(), seconds(100 + held));
    }
}

#[test]
fn a_silent_stream_says_noop_each_interval() {
    let mut channel = streaming();
    channel.tick(seconds(29));
    writes(&mut channel, 29, expect!["nothing"]);
    channel.tick(seconds(30));
    writes(&mut channel, 30, expect![[r#"14 [[2,["noop"]]]"#]]);
    channel.tick(seconds(59));
    writes(&mut channel, 59, expect!["nothing"]);
}

#[test]
fn what_was_not_acknowledged_is_written_again() {
    let mut channel = streaming();
    channel.say("2");
    channel.say("3");
    channel.write(seconds(0)).unwrap();
    channel.gone(seconds(1));
    channel.say("4");
    channel.receive(seconds(2), Some(2), Way::Stream).unwrap();
    writes(&mut channel, 2, expect!["17 [[3,[3]],[4,[4]]]"]);
    sends(&mut channel, Some(3), Maps::default(), expect!["7 [1,4,3]"]);
    channel.receive(seconds(3), Some(3), Way::Stream).unwrap();
    writes(&mut channel, 3, expect!["9 [[4,[4]]]"]);
}

#[test]
fn a_second_get_takes_the_place_of_the_first() {
    let mut channel = streaming();
    channel.say("2");
    channel.receive(seconds(0), Some(1), POLL).unwrap();
    writes(&mut channel, 0, expect!["9 [[2,[2]]] (last)"]);
    assert!(!channel.has_news());
}

#[test]
fn a_repeated_post_is_answered_and_its_maps_are_not_heard_twice() {
    let mut channel = opened();
    sends(&mut channel, Some(0), maps(0, &["a", "b"]), expect!["7 [0,0,0]"]);
    sends(&mut channel, Some(0), maps(0, &["a", "b"]), expect!["7 [0,0,0]"]);
    sends(&mut channel, Some(0), maps(1, &["b", "c"]), expect!["7 [0,0,0]"]);
    assert_eq!(heard(&mut channel), "a b c");
}

#[test]
fn a_post_is_told_whether_a_get_is_attached_and_what_was_not_acknowledged() {
    let mut channel = streaming();
    sends(&mut channel, Some(0), Maps::default(), expect!["7 [1,1,8]"]);
    sends(&mut channel, Some(1), Maps::default(), expect!["7 [1,1,0]"]);
    channel.gone(seconds(0));
    channel.say("12345");
    sends(&mut channel, Some(1), Maps::default(), expect!["7 [0,2,7]"]);
}

#[test]
fn lies_about_numbers_change_nothing() {
    let mut channel = streaming();
    receives(&mut channel, Some(2), expect!["refused: AID says 2, and the last array that was sent is 1"]);
    sends(
        &mut channel,
        Some(9),
        maps(0, &["a"]),
        expect!["refused: AID says 9, and the last array that was sent is 1"],
    );
    sends(&mut channel, Some(0), maps(3, &["a"]), expect!["refused: map 3 comes before map 0"]);
    assert_eq!(heard(&mut channel), "");
    sends(&mut channel, Some(1), maps(0, &["a"]), expect!["7 [1,1,0]"]);
    receives(&mut channel, Some(0), expect!["refused: the arrays after 0 are gone: 1 were acknowledged"]);
    assert_eq!(heard(&mut channel), "a");
}

#[test]
fn a_stream_that_nobody_reads_is_not_asked_for_more() {
    let mut channel = opened();
    let text = "x".repeat(60);
    channel.say(&text);
    assert!(channel.has_room());
    channel.say(&text);
    assert!(!channel.has_room());
    channel.receive(seconds(0), Some(0), POLL).unwrap();
    channel.write(seconds(0)).unwrap();
    assert!(!channel.has_room());
    channel.receive(seconds(0), Some(2), POLL).unwrap();
    assert!(channel.has_room());
}

#[test]
fn messages_that_pile_up_are_refused() {
    let mut channel = opened();
    sends(&mut channel, None, maps(0, &["0123456789x"]), expect!["7 [0,0,0]"]);
    sends(&mut channel, None, maps(1, &["y"]), expect!["refused: too many messages wait already"]);
    assert_eq!(heard(&mut channel), "0123456789x");
    sends(&mut channel, None, maps(1, &["y"]), expect!["7 [0,0,0]"]);
}

#[test]
fn an_answer_ends_when_it_has_brought_much_or_gone_on_for_long() {
    let mut channel = streaming();
    channel.say(&"x".repeat(50));
    assert!(channel.write(seconds(1)).unwrap().is_last);
    channel.receive(seconds(1), Some(2), Way::Stream).unwrap();
    channel.say("1");
    writes(&mut channel, 300, expect!["9 [[3,[1]]]"]);
    channel.say("2");
    writes(&mut channel, 301, expect!["9 [[4,[2]]] (last)"]);
}

#[test]
fn an_error_is_the_last_thing_that_is_said_and_nothing_is_heard_after_it() {
    let mut channel = streaming();
    channel.send(seconds(0), None, maps(0, &["a"])).unwrap();
    channel.end(Some(&Refusal::new(Code::NotFound, "no")));
    writes(
        &mut channel,
        0,
        expect![[r#"66 [[2,[{"error":{"code":404,"message":"no","status":"NOT_FOUND"}}]]] (last)"#]],
    );
    assert_eq!(heard(&mut channel), "");
    assert!(!channel.has_room());
    sends(&mut channel, Some(1), maps(1, &["b"]), expect!["8 [0,2,60]"]);
    assert_eq!(heard(&mut channel), "");
    // One that has seen it and asks all the same is held like any other.
    channel.receive(seconds(1), Some(2), Way::Stream).unwrap();
    writes(&mut channel, 1, expect!["nothing"]);
}

#[test]
fn a_stream_that_ends_in_order_says_close() {
    let mut channel = streaming();
    channel.end(None);
    writes(&mut channel, 0, expect![[r#"15 [[2,["close"]]] (last)"#]]);
}

#[test]
fn a_session_without_contact_is_over_in_time() {
    let mut channel = opened();
    assert_eq!(channel.wakes_at(), seconds(150));
    assert!(!channel.is_over(seconds(149)) && channel.is_over(seconds(150)));
    channel.send(seconds(100), None, Maps::default()).unwrap();
    assert!(!channel.is_over(seconds(249)) && channel.is_over(seconds(250)));
    channel.receive(seconds(100), None, Way::Stream).unwrap();
    assert!(!channel.is_over(seconds(9_999)));
    channel.gone(seconds(1_000));
    assert!(!channel.is_over(seconds(1_149)) && channel.is_over(seconds(1_150)));
}

/// What a client may do, truthful or not.
#[derive(Clone, Debug)]
enum Act {
    Send { ack: u64, offset: u64, count: usize },
    Receive { ack: u64, polls: bool },
    Gone,
    Say(String),
    Hear,
    Write,
    Pass(u64),
    End,
}

fn act() -> impl Strategy<Value = Act> {
    let number = prop_oneof![4 => 0u64..12, 1 => any::<u64>()];
    prop_oneof![
        4 => (number.clone(), prop_oneof![4 => 0u64..12, 1 => 0..u64::MAX - 9], 0usize..4)
            .prop_map(|(ack, offset, count)| Act::Send { ack, offset, count }),
        4 => (number, any::<bool>()).prop_map(|(ack, polls)| Act::Receive { ack, polls }),
        1 => Just(Act::Gone),
        4 => "\\PC{0,12}".prop_map(Act::Say),
        2 => Just(Act::Hear),
        6 => Just(Act::Write),
        2 => (0u64..200).prop_map(Act::Pass),
        1 => Just(Act::End),
    ]
}

proptest! {
    #[test]
    fn whatever_a_client_says_arrays_are_whole_and_maps_are_heard_once(acts in prop::collection::vec(act(), 0..60)) {
        let mut channel = opened();
        let (mut now, mut heard, mut ended) = (0, Vec::new(), false);
        let mut next_array = None;
        for act in acts {
            let before = format!("{channel:?}");
            match act {
                Act::Send { ack, offset, count } => {
                    let texts: Vec<String> = (offset..).take(count).map(|id| id.to_string()).collect();
                    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                    match channel.send(seconds(now), Some(ack), maps(offset, &texts)) {
                        Ok(_) => next_array = next_array.max(Some(ack + 1)),
                        Err(_) => prop_assert_eq!(&format!("{channel:?}"), &before),
                    }
                }
                Act::Receive { ack, polls } => {
                    let way = if polls { POLL } else { Way::Stream };
                    match channel.receive(seconds(now), Some(ack), way) {
                        Ok(()) => next_array = Some(ack + 1),
                        Err(_) => prop_assert_eq!(&format!("{channel:?}"), &before),
                    }
                }
                Act::Gone => channel.gone(seconds(now)),
                Act::Say(text) if channel.has_room() => channel.say(&serde_json::json!(text).to_string()),
                Act::Say(_) => {}
                Act::Hear => heard.extend(channel.message()),
                Act::Write => if let Some(written) = channel.write(seconds(now)) {
                    let (length, json) = written.chunk.split_once('\n').unwrap();
                    prop_assert_eq!(length.parse::<usize>().unwrap(), json.encode_utf16().count());
                    let arrays: Vec<(u64, serde_json::Value)> = serde_json::from_str(json).unwrap();
                    for (id, _) in arrays {
                        prop_assert_eq!(Some(id), next_array);
                        next_array = Some(id + 1);
                    }
                },
                Act::Pass(time) => {
                    now += time;
                    channel.tick(seconds(now));
                }
                Act::End if !ended => {
                    ended = true;
                    channel.end(None);
                }
                Act::End => {}
            }
        }
        heard.extend(std::iter::from_fn(|| channel.message()));
        let want: Vec<String> = (0..heard.len()).map(|id| id.to_string()).collect();
        prop_assert_eq!(heard, want);
    }
}
