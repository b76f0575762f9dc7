//! Differences in parts: what a reader that was away is told, and what that costs.

use super::*;
use crate::{Difference, Part};

/// Parts of three changes, at most.
fn small() -> Limits {
    Limits { part_docs_max: 3, ..Limits::default() }
}

/// A database of ten documents, and the token of a reader who knows them; then eleven changes.
async fn changed(database: &Database) -> (Shown, Token) {
    commit(database, (0..10).map(|n| set(&format!("rooms/r{n}"), n)).collect()).await;
    let mut shown = Shown::default();
    let answer = database.query(&asked(database, by_n(100)), None).await.unwrap();
    let token = answer.token;
    shown.open(&Opening::Whole { answer, reset: false });
    commit(database, (0..4).map(|n| set(&format!("rooms/r{n}"), 20 - n)).collect()).await;
    commit(database, (4..7).map(|n| delete(&format!("rooms/r{n}"))).collect()).await;
    commit(database, (0..4).map(|n| set(&format!("rooms/s{n}"), n * 5)).collect()).await;
    (shown, token)
}

fn difference(opening: Opening<Difference>) -> Difference {
    match opening {
        Opening::Since(difference) => difference,
        Opening::Whole { .. } => panic!("a token inside the history is honoured"),
    }
}

async fn parts(database: &Database, difference: Difference) -> Vec<Part> {
    let (mut parts, mut left) = (Vec::new(), Some(difference));
    while let Some(difference) = left {
        let (part, rest) = database.part(difference).await.unwrap();
        parts.push(part);
        left = rest;
    }
    parts
}

#[tokio::test]
async fn positions_hold_from_part_to_part_and_the_last_one_says_so() {
    let engine = in_memory(small());
    let database = main_database(&engine);
    let (mut shown, token) = changed(&database).await;
    for spec in [by_n(100), rooms()] {
        let query = asked(&database, spec);
        let since = Token { query: query.hash(), ..token };
        let begun = difference(database.since_in_parts(&query, &since).await.unwrap());
        let (version, size, end) = (begun.version(), begun.size(), begun.token());
        let parts = parts(&database, begun).await;
        let told: Vec<_> = parts.iter().map(|part| (part.number, part.last, part.event.event.changes.len())).collect();
        assert_eq!(told, [(1, false, 3), (2, false, 3), (3, false, 3), (4, true, 2)]);
        assert!(parts.iter().all(|part| part.event.event.version == version && part.event.token == end));
        assert_eq!((parts[3].event.event.size, version), (size, database.visible()));
        let whole = match database.since(&query, &since).await.unwrap() {
            Opening::Since(event) => event,
            whole => panic!("{whole:?}"),
        };
        let steps: Vec<_> = parts.iter().flat_map(|part| part.event.event.changes.clone()).collect();
        assert_eq!((whole.event.changes.clone(), whole.event.size), (steps, size));
        if query.orders().len() > 1 {
            // `fold` holds the size of each part against what it has then.
            parts.iter().for_each(|part| shown.fold(&part.event.event.changes, part.event.event.size));
        }
    }
    let mut now = Shown::default();
    let answer = database.query(&asked(&database, by_n(100)), None).await.unwrap();
    now.open(&Opening::Whole { answer, reset: false });
    assert_eq!(shown, now);
}

#[tokio::test]
async fn a_part_ends_with_the_document_that_takes_it_over_its_bytes() {
    let engine = in_memory(Limits { part_bytes_max: 1_000, ..Limits::default() });
    let database = main_database(&engine);
    let token = database.query(&asked(&database, rooms()), None).await.unwrap().token;
    let text = Value::Text("x".repeat(600).into());
    let large = |n: usize| {
        let fields = Map::from([("text".into(), text.clone())]);
        Write::build(path(&format!("rooms/{n}")), Operation::Set(fields), Precondition::None, vec![]).unwrap()
    };
    commit(&database, (0..5).map(large).collect()).await;
    let begun = difference(database.since_in_parts(&asked(&database, rooms()), &token).await.unwrap());
    let parts = parts(&database, begun).await;
    let counts: Vec<usize> = parts.iter().map(|part| part.event.event.changes.len()).collect();
    assert_eq!(counts, [2, 2, 1]);
    // What is kept is the step, not the document.
    assert!(parts.iter().all(|part| part.event.weight() < 2_000));
}

#[tokio::test]
async fn what_is_committed_between_parts_is_heard_after_the_last() {
    let engine = in_memory(small());
    let database = main_database(&engine);
    let (mut shown, token) = changed(&database).await;
    let outbox = Outbox::new(&engine);
    let query = asked(&database, by_n(100));
    let mut left = Some(difference(database.listen_in_parts(query, &outbox, 1, Some(&token)).await.unwrap()));
    let mut committed = Version::ZERO;
    while let Some(difference) = left {
        assert!(outbox.try_next().is_none(), "nothing overtakes the parts");
        let (part, rest) = database.part(difference).await.unwrap();
        shown.fold(&part.event.event.changes, part.event.event.size);
        if !part.last {
            committed = commit(&database, vec![set("rooms/late", i64::from(part.number))]).await;
        }
        left = rest;
    }
    for _ in 0..3 {
        let (_, events) = next(&outbox).await;
        events.iter().for_each(|(_, event)| shown.fold(&event.event.changes, event.event.size));
    }
    assert_eq!(shown.0.iter().filter(|line| line.starts_with("late")).collect::<Vec<_>>(), ["late 3"]);
    assert_eq!((outbox.bytes(), database.visible()), (0, committed));
}

#[tokio::test]
async fn what_is_too_much_between_parts_is_caught_up_after_the_last() {
    let engine = in_memory(Limits { outbox_bytes_max: 500, ..small() });
    let database = main_database(&engine);
    let (mut shown, token) = changed(&database).await;
    let outbox = Outbox::new(&engine);
    let query = asked(&database, by_n(100));
    let begun = difference(database.listen_in_parts(query, &outbox, 1, Some(&token)).await.unwrap());
    for n in 0..20 {
        commit(&database, vec![set(&format!("rooms/late{n:02}"), n)]).await;
        assert!(outbox.bytes() <= 500);
    }
    assert!(outbox.try_next().is_none());
    for part in parts(&database, begun).await {
        shown.fold(&part.event.event.changes, part.event.event.size);
    }
    let Delivery::Lagged(1) = outbox.next().await else { panic!("what waited was too much") };
    for part in parts(&database, difference(database.catch_up_in_parts(&outbox, 1).await.unwrap())).await {
        shown.fold(&part.event.event.changes, part.event.event.size);
    }
    assert_eq!(shown.0.iter().filter(|line| line.starts_with("late")).count(), 20);
    assert_eq!(engine.metrics().resets.get(), 0);
}

#[tokio::test]
async fn a_difference_that_is_given_up_leaves_nothing_behind() {
    let engine = in_memory(small());
    let database = main_database(&engine);
    let (_, token) = changed(&database).await;
    let outbox = Outbox::new(&engine);
    let listen = |target| database.listen_in_parts(asked(&database, by_n(100)), &outbox, target, Some(&token));
    let (first, second) = (difference(listen(1).await.unwrap()), difference(listen(2).await.unwrap()));
    commit(&database, vec![set("rooms/late", 1)]).await;
    database.unlisten(&outbox, 1);
    // Reading on opens no gate of a listener that is gone.
    assert_eq!(parts(&database, first).await.len(), 4);
    assert!(outbox.try_next().is_none());
    drop((second, outbox));
    assert_eq!((engine.metrics().listeners.get(), engine.metrics().outbox_bytes.get()), (0, 0));
}

#[tokio::test]
async fn parts_of_what_was_wiped_are_refused() {
    let engine = in_memory(small());
    let database = main_database(&engine);
    let (_, token) = changed(&database).await;
    let begun = difference(database.since_in_parts(&asked(&database, by_n(100)), &token).await.unwrap());
    let (_, rest) = database.part(begun).await.unwrap();
    let wipe = database.authorize_wipe(&Caller::Admin).unwrap();
    database.wipe(&wipe).await.unwrap();
    // Whatever its documents were, they are not told as if they were there and empty.
    let mut left = rest;
    let refused = loop {
        match database.part(left.expect("a part with documents is refused")).await {
            Ok((part, rest)) => {
                assert!(part.event.event.changes.iter().all(|change| change.kind == Kind::Removed));
                left = rest;
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, ReadError::Forgotten { .. }), "{refused:?}");
}
