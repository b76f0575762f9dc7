//! What expires: documents are deleted when the time has come that a field of theirs holds.

use hearth_tests::{Launch, Server, Sse, check_schema, hearth};
use serde_json::{Value, json};

use crate::common::{event, found, problem, put, target};
use crate::serve::now_seconds;

/// A time, so many seconds from now.
fn time(seconds: i64) -> Value {
    let at = now_seconds().saturating_add_signed(seconds);
    let (days, second) = ((at / 86_400) as i64, at % 86_400);
    // Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    json!({ "$timestamp": format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z") })
}

/// The paths that a listener has heard to be gone, up to the one that is waited for.
#[track_caller]
fn gone(sse: &mut Sse, last: &str) -> Vec<String> {
    let mut gone = Vec::new();
    while gone.last().is_none_or(|path| path != last) {
        let event = event(sse);
        let removed = event["changes"].as_array().into_iter().flatten().filter(|change| change["type"] == "removed");
        gone.extend(removed.map(|change| change["doc"]["path"].as_str().unwrap_or_default().to_owned()));
    }
    gone
}

#[track_caller]
fn set(server: &Server, group: &str, field: &str) -> Value {
    let policies = server.put(&format!("/ttl/{group}"), &json!({ "field": field })).send().expect_status(200).json();
    check_schema("ttl", &policies);
    policies["policies"].clone()
}

#[test]
fn a_document_is_gone_when_its_time_has_come() {
    let mut server = Launch::dev().start();
    assert_eq!(set(&server, "carts", "expires.at"), json!([{"group": "carts", "field": "expires.at"}]));
    let mut sse = server.sse("/db/~/carts");
    assert_eq!(event(&mut sse)["size"], 0);
    let end = now_seconds() + 5;
    let soon = time(5);
    put(&server, "carts/soon", json!({"expires": {"at": soon}}));
    // Only what goes is deleted: neither what says nothing, nor another field, type or collection.
    put(&server, "carts/late", json!({"expires": {"at": time(3_600)}}));
    put(&server, "carts/none", json!({"n": 1}));
    put(&server, "carts/text", json!({"expires": {"at": time(-60)["$timestamp"]}}));
    put(&server, "carts/number", json!({"expires": {"at": 1}}));
    put(&server, "carts/other", json!({"expires": time(-60)}));
    put(&server, "others/a", json!({"expires": {"at": time(-60)}}));
    // One that is put off in time stays, as one does whose time is taken away.
    put(&server, "carts/kept", json!({"expires": {"at": soon}}));
    put(&server, "carts/kept", json!({"expires": {"at": time(3_600)}}));
    put(&server, "carts/freed", json!({"expires": {"at": soon}}));
    put(&server, "carts/freed", json!({}));
    // Written behind the others, of the group elsewhere, and over already.
    put(&server, "users/ada/carts/past", json!({"expires": {"at": time(-1)}}));
    assert_eq!(gone(&mut sse, "carts/soon"), ["users/ada/carts/past", "carts/soon"]);
    assert!(now_seconds() >= end, "it went before its time");
    problem(&server.get("/db/carts/soon").send(), 404, "not-found");
    let left = "freed kept late none number other text";
    assert_eq!(found(&server, "/db/~/carts"), left);
    assert_eq!(found(&server, "/db/others"), "a");
    assert_eq!(server.metric("hearth_documents_expired_total"), 2.0);

    // Its policy outlives the server, and what has expired meanwhile goes when it comes back.
    put(&server, "carts/late", json!({"expires": {"at": time(2)}}));
    server.stop();
    server.restart();
    let mut sse = server.sse("/db/~/carts");
    let first = event(&mut sse);
    let is_gone = !first.to_string().contains("carts/late");
    assert!(is_gone || gone(&mut sse, "carts/late") == ["carts/late"]);
    assert_eq!(found(&server, "/db/~/carts"), left.replace("late ", ""));
    server.kill9();
    server.restart();
    assert_eq!(server.get("/ttl").send().expect_status(200).json()["policies"][0]["group"], "carts");
    assert_eq!(found(&server, "/db/~/carts"), left.replace("late ", ""));
}

#[test]
fn a_policy_is_about_what_was_there_before_it_too() {
    let server = Launch::dev().ephemeral().start();
    for n in 0..300 {
        put(&server, &format!("s/{n:03}"), json!({"at": time(-60), "until": time(3_600)}));
    }
    let mut sse = server.sse(&target("/db/s", &[("orderBy", "at")]));
    assert_eq!(event(&mut sse)["size"], 300);
    set(&server, "s", "until");
    put(&server, "s/no", json!({"n": 1}));
    set(&server, "s", "at");
    let mut size = 300;
    while size > 0 {
        size = event(&mut sse)["size"].as_u64().unwrap();
    }
    assert_eq!(found(&server, "/db/s"), "no");
    // A change that comes together with a commit, while all of these are being looked at, is not passed over.
    for n in 0..1_000 {
        put(&server, &format!("many/{n:04}"), json!({"until": time(3_600)}));
    }
    let mut sse = server.sse(&target("/db/many", &[("orderBy", "at")]));
    event(&mut sse);
    for n in 0..12 {
        put(&server, "many/goes", json!({"at": time(-60)}));
        assert_eq!(event(&mut sse)["size"], 1);
        set(&server, "many", "until");
        put(&server, "many/0000", json!({"n": n}));
        set(&server, "many", "at");
        assert_eq!(event(&mut sse)["size"], 0);
        assert_eq!(server.delete("/ttl/many").send().status, 200);
    }
    // Without it nothing goes any more.
    assert_eq!(server.delete("/ttl/s").send().expect_status(200).json(), json!({"policies": []}));
    set(&server, "t", "at");
    put(&server, "s/stays", json!({"at": time(-60)}));
    let mut others = server.sse("/db/t");
    event(&mut others);
    put(&server, "t/goes", json!({"at": time(-60)}));
    assert_eq!(gone(&mut others, "t/goes"), ["t/goes"]);
    assert_eq!(found(&server, "/db/s"), "no stays");
}

#[test]
fn the_command_sets_shows_and_removes_policies() {
    let server = Launch::dev().ephemeral().start();
    let at = server.url("");
    assert_eq!(hearth(&["ttl", "set", "carts", "at", "--server", &at]).ok(), "carts\tat\n");
    assert_eq!(hearth(&["ttl", "set", "a b", "x.`y z`", "--server", &at]).ok(), "a b\tx.`y z`\ncarts\tat\n");
    let other = ["ttl", "set", "x", "at", "--server", &at, "--project", "shop", "--database", "eu"];
    assert_eq!(hearth(&other).ok(), "x\tat\n");
    assert_eq!(server.get("/p/shop/ttl@eu").send().json(), json!({"policies": [{"group": "x", "field": "at"}]}));
    let listed = hearth(&["ttl", "list", "--json", "--server", &at]).ok();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed, server.get("/ttl").send().expect_status(200).json());
    assert_eq!(hearth(&["ttl", "remove", "a b", "--server", &at]).ok(), "carts\tat\n");
    let refused = hearth(&["ttl", "remove", "a b", "--server", &at]);
    assert!(refused.code() != 0 && refused.stderr.contains("collections called a b have no TTL policy"), "{refused:?}");

    // A data directory that no server uses will do.
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    assert_eq!(hearth(&["ttl", "set", "carts", "at", "--data", data]).ok(), "carts\tat\n");
    assert_eq!(hearth(&["ttl", "list", "--data", data]).ok(), "carts\tat\n");
}

#[test]
fn a_policy_that_is_none_is_refused() {
    let server = Launch::dev().ephemeral().start();
    for body in [json!({}), json!({"field": 1}), json!({"field": ""}), json!({"field": "__name__"}), json!([])] {
        problem(&server.put("/ttl/a", &body).send(), 400, "invalid-argument");
    }
    problem(&server.put("/ttl/a%2Fb", &json!({"field": "at"})).send(), 400, "invalid-argument");
    problem(&server.delete("/ttl/a").send(), 404, "not-found");
    assert_eq!(server.post("/ttl/a", &json!({"field": "at"})).send().status, 405);
    for n in 0..100 {
        set(&server, &format!("g{n}"), "at");
    }
    let over = problem(&server.put("/ttl/more", &json!({"field": "at"})).send(), 429, "resource-exhausted");
    assert_eq!(over["limit"], json!({"name": "ttl_policies_max", "value": 100}));
    set(&server, "g0", "until");
}
