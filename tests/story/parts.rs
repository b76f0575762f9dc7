//! Large differences: whoever was away for long is told what changed in parts of bounded size, however much it is.

use std::time::Duration;

use hearth_tests::{Answer, Fold, Launch, Server, Sse};
use serde_json::{Value, json};

use crate::common::{commit, dev, event, memory, result, target};

/// Documents, or changes, of one part, where nobody sets another limit.
const PART_DOCS_MAX: usize = 1_000;

/// Two and a half thousand documents; then, behind the token that is handed back, as many changes of each kind.
fn changed(server: &Server) -> Fold {
    let writes: Vec<Value> = (0..2_500).map(|n| json!({"set": format!("m/{n:04}"), "data": {"n": n}})).collect();
    commit(server, &writes);
    let mut fold = Fold::new();
    let mut sse = server.sse("/db/m?orderBy=n&limit=all");
    hear(&mut fold, || event(&mut sse));
    let moved = (0..1_200).map(|n| json!({"set": format!("m/{n:04}"), "data": {"n": 5_000 - n}}));
    commit(server, &moved.collect::<Vec<_>>());
    commit(server, &(1_200..1_500).map(|n| json!({"delete": format!("m/{n:04}")})).collect::<Vec<_>>());
    let added = (2_500..3_200).map(|n| json!({"set": format!("m/{n:04}"), "data": {"n": n % 7}}));
    commit(server, &added.collect::<Vec<_>>());
    fold.reopen();
    fold
}

/// Applies the parts of one event, and says how many there were.
#[track_caller]
fn hear(fold: &mut Fold, mut next: impl FnMut() -> Value) -> usize {
    for parts in 1.. {
        let told = next();
        let changes = told["changes"].as_array().map_or(0, Vec::len);
        assert!(changes <= PART_DOCS_MAX, "{changes} changes in one message");
        fold.apply(&told);
        if told["more"] != true {
            return parts;
        }
    }
    unreachable!("something is the last")
}

#[track_caller]
fn check_whole(server: &Server, fold: &Fold) {
    let docs = result(server, "/db/m?orderBy=n&limit=all")["docs"].take();
    assert!(json!(fold.docs) == docs, "{} documents, not {}", fold.docs.len(), docs.as_array().map_or(0, Vec::len));
}

#[test]
fn a_stream_is_told_a_large_difference_in_parts_and_goes_on_where_it_was_when_it_breaks_off_between() {
    let server = dev();
    let mut fold = changed(&server);
    let (token, changes) = (fold.token.clone().unwrap(), fold.changes);
    let address = "/db/m?orderBy=n&limit=all";
    let open = |token: &str| Sse::open(server.get(address).header("Last-Event-ID", token));
    // Twice it breaks off, the second time on the way to another version.
    for _ in 0..2 {
        let mut sse = open(&token);
        let first = event(&mut sse);
        assert_eq!((&first["part"], &first["more"], sse.last_id()), (&json!(1), &json!(true), ""));
        fold.apply(&first);
        drop(sse);
        fold.reopen();
        assert_eq!((fold.token.as_deref(), fold.docs.len()), (Some(token.as_str()), 2_500));
        commit(&server, &[json!({"set": "m/last", "data": {"n": -1}})]);
    }
    let mut sse = open(&token);
    assert_eq!(hear(&mut fold, || event(&mut sse)), 3);
    assert_eq!(Some(sse.last_id()), fold.token.as_deref());
    assert_eq!((fold.changes - changes, fold.resets), (1_200 + 300 + 700 + 1, 0));
    check_whole(&server, &fold);
    // And then as usual.
    commit(&server, &[json!({"delete": "m/last"})]);
    fold.apply(&event(&mut sse));
    check_whole(&server, &fold);
}

#[test]
fn a_connection_is_told_a_large_difference_in_parts_and_then_what_came_meanwhile() {
    let server = dev();
    let mut fold = changed(&server);
    let mut socket = server.socket();
    let query = json!({"orderBy": [["n", "asc"]], "limit": "all"});
    let message = json!({"id": 1, "op": "listen", "path": "m", "query": query, "since": fold.token});
    // Listened, committed and asked at once: the commit's own snapshot comes before its answer, behind all parts.
    socket.send(&message);
    socket.send(&json!({"id": 2, "op": "commit", "writes": [{"set": "m/last", "data": {"n": -1}}]}));
    let mut committed = None;
    let mut next = || loop {
        let message = socket.next_message();
        match message["id"].as_u64() {
            Some(1) => return message,
            _ => committed = Some(message),
        }
    };
    assert!(hear(&mut fold, &mut next) >= 3);
    if fold.docs[0]["path"] != "m/last" {
        hear(&mut fold, &mut next);
    }
    let committed = committed.unwrap_or_else(|| socket.next_for(2));
    assert_eq!((committed["ev"].as_str(), fold.resets), (Some("committed"), 0));
    check_whole(&server, &fold);
    // The same over a connection that is lost between the parts.
    let mut again = changed_more(&server, &fold);
    let mut lost = server.socket();
    lost.send(&json!({"id": 1, "op": "listen", "path": "m", "query": query, "since": again.token}));
    again.apply(&lost.next_for(1));
    drop(lost);
    again.reopen();
    let mut socket = server.socket();
    socket.send(&json!({"id": 1, "op": "listen", "path": "m", "query": query, "since": again.token}));
    assert!(hear(&mut again, || socket.next_for(1)) > 1);
    check_whole(&server, &again);
}

fn changed_more(server: &Server, fold: &Fold) -> Fold {
    let writes: Vec<Value> =
        (0..1_100).map(|n| json!({"update": format!("m/{n:04}"), "data": {"again": true}})).collect();
    commit(server, &writes);
    let mut fold = fold.clone();
    fold.reopen();
    fold
}

#[test]
fn a_plain_get_is_told_a_large_difference_as_one_object() {
    let server = dev();
    let mut fold = changed(&server);
    let token = fold.token.clone().unwrap();
    let whole = |parameters: &[(&str, &str)]| -> Value {
        let parameters = [&[("orderBy", "n"), ("limit", "all")], parameters].concat();
        let answer: Answer = server.get(&target("/db/m", &parameters)).send().expect_status(200);
        answer.json()
    };
    let told = whole(&[("since", &token)]);
    assert_eq!((told.get("part"), &told["size"]), (None, &json!(2_900)));
    let mut patched = fold.clone();
    fold.apply(&told);
    check_whole(&server, &fold);
    // With patches as well.
    let told = whole(&[("since", &token), ("diff", "fields")]);
    assert!(told["changes"].as_array().unwrap().iter().any(|change| change.get("patch").is_some()));
    patched.apply(&told);
    check_whole(&server, &patched);
    // A whole result, where the token leads nowhere.
    let told = whole(&[("since", "AQAAAAAAAAAJAAAAAAAAAAEAAAAAAAAAAg")]);
    assert_eq!((&told["reset"], told["changes"].as_array().map(Vec::len)), (&json!(true), Some(2_900)));
}

#[test]
fn who_reads_slowly_costs_a_part_however_much_it_has_missed() {
    let server = Launch::dev().ephemeral().start();
    let text = |n: usize| format!("{n:02}").repeat(150_000);
    let write = |round: &str| {
        for n in 0..40 {
            commit(&server, &[json!({"set": format!("m/{n:02}"), "data": {"text": text(n), "round": round}})]);
        }
    };
    write("first");
    let (mut fold, mut sse) = (Fold::new(), server.sse("/db/m"));
    let longest = |sse: &mut Sse, fold: &mut Fold| {
        let mut longest = 0;
        loop {
            let told = sse.next_event();
            longest = longest.max(told.data.len());
            fold.apply(&told.json());
            if told.json()["more"] != true {
                return longest;
            }
        }
    };
    longest(&mut sse, &mut fold);
    write("second");
    let token = fold.token.clone().unwrap();
    let before = memory(&server);
    // Twelve million bytes for each; sockets hold a few of them.
    let mut stalled: Vec<Sse> =
        (0..30).map(|_| Sse::open(server.get("/db/m").header("Last-Event-ID", &token))).collect();
    for sse in &mut stalled {
        assert!(sse.poll(Duration::from_secs(60)).unwrap().is_some());
    }
    let grown = memory(&server).saturating_sub(before);
    assert!(grown < 150 << 20, "{grown} bytes more for 30 readers");
    fold.reopen();
    let mut sse = Sse::open(server.get("/db/m").header("Last-Event-ID", &token));
    // A part ends with the document that takes it over a mebibyte.
    let longest = longest(&mut sse, &mut fold);
    assert!(longest < (1 << 20) + 310_000, "{longest} bytes in one message");
    assert_eq!((fold.docs.len(), fold.resets), (40, 0));
}
