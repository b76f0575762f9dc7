//! Queries: typed into an address or sent as a body, in pages, over groups, as numbers.

use hearth_tests::{Server, check_schema};
use serde_json::{Value, json};

use crate::common::{commit, dev, found, problem, put, result, shown, target};

fn people() -> Server {
    let server = dev();
    let people = [
        ("ada", json!({"age": 36, "city": "london", "tags": ["new", "x"], "name": {"first": "Ada"}})),
        ("bob", json!({"age": 5, "city": "paris", "tags": ["x"]})),
        ("cyd", json!({"age": 36.5, "city": "paris", "tags": []})),
        ("dan", json!({"city": "rome"})),
        ("eve", json!({"age": "old", "city": "paris", "score": {"$double": "NaN"}})),
    ];
    let writes: Vec<Value> =
        people.into_iter().map(|(id, data)| json!({"set": format!("people/{id}"), "data": data})).collect();
    commit(&server, &writes);
    server
}

/// Parameters, the same as a body, and the ids that both find.
type Case<'a> = (&'a [(&'a str, &'a str)], Value, &'a str);

#[test]
fn every_operator_can_be_typed_and_sent() {
    let server = people();
    let cases: [Case<'_>; 24] = [
        (&[("where", "city eq paris")], json!({"where": ["city", "==", "paris"]}), "bob cyd eve"),
        (&[("where", "city == paris")], json!({"where": ["city", "eq", "paris"]}), "bob cyd eve"),
        (&[("where", "city ne paris")], json!({"where": ["city", "!=", "paris"]}), "ada dan"),
        (&[("where", "age lt 36")], json!({"where": ["age", "<", 36]}), "bob"),
        (&[("where", "age le 36")], json!({"where": ["age", "<=", 36]}), "bob ada"),
        (&[("where", "age gt 5")], json!({"where": ["age", ">", 5]}), "ada cyd"),
        (&[("where", "age ge 5")], json!({"where": ["age", ">=", 5]}), "bob ada cyd"),
        (
            &[("where", "city in [\"rome\",\"london\"]")],
            json!({"where": ["city", "in", ["rome", "london"]]}),
            "ada dan",
        ),
        (&[("where", "city not-in [\"paris\"]")], json!({"where": ["city", "not-in", ["paris"]]}), "ada dan"),
        (&[("where", "tags array-contains new")], json!({"where": ["tags", "array-contains", "new"]}), "ada"),
        (
            &[("where", "tags array-contains-any [\"new\",\"x\"]")],
            json!({"where": ["tags", "array-contains-any", ["new", "x"]]}),
            "ada bob",
        ),
        (&[("where", "name.first eq Ada")], json!({"where": ["name.first", "==", "Ada"]}), "ada"),
        (&[("where", "age eq \"old\"")], json!({"where": ["age", "==", "old"]}), "eve"),
        (
            &[("where", "city eq paris"), ("where", "age gt 5")],
            json!({"where": {"and": [["city", "==", "paris"], ["age", ">", 5]]}}),
            "cyd",
        ),
        (
            &[("or", "city eq rome|age gt 36")],
            json!({"where": {"or": [["city", "==", "rome"], ["age", ">", 36]]}}),
            "cyd",
        ),
        (&[("orderBy", "age desc")], json!({"orderBy": [["age", "desc"]]}), "eve cyd ada bob"),
        (&[("orderBy", "city"), ("limit", "2")], json!({"orderBy": [["city", "asc"]], "limit": 2}), "ada bob"),
        (
            &[("orderBy", "age"), ("limitToLast", "2")],
            json!({"orderBy": [["age", "asc"]], "limitToLast": 2}),
            "cyd eve",
        ),
        (&[("offset", "3")], json!({"offset": 3}), "dan eve"),
        (
            &[("orderBy", "age"), ("startAt", "[36]"), ("endBefore", "[\"a\"]")],
            json!({"orderBy": [["age", "asc"]], "startAt": [36], "endBefore": ["a"]}),
            "ada cyd",
        ),
        (
            &[("orderBy", "age"), ("startAfter", "people/ada")],
            json!({"orderBy": [["age", "asc"]], "startAfter": "people/ada"}),
            "cyd eve",
        ),
        (&[("endAt", "people/bob")], json!({"endAt": "people/bob"}), "ada bob"),
        (
            &[("where", "__name__ gt {\"$ref\":\"people/cyd\"}")],
            json!({"where": ["__name__", ">", {"$ref": "people/cyd"}]}),
            "dan eve",
        ),
        (&[("limit", "all")], json!({"limit": "all"}), "ada bob cyd dan eve"),
    ];
    for (params, body, want) in cases {
        // A document without the field that an inequality orders by is in no result of it.
        let typed = found(&server, &target("/db/people", params));
        let sent = server.post("/db/people/~query", &body).send().expect_status(200).json();
        check_schema("query", &body);
        check_schema("result", &sent);
        assert_eq!((typed.as_str(), shown(&sent).as_str()), (want, want), "{params:?} {body}");
    }
}

#[test]
fn selected_fields_are_all_that_is_answered() {
    let server = people();
    let answer = result(&server, &target("/db/people", &[("select", "name.first"), ("select", "age"), ("limit", "1")]));
    assert_eq!(answer["docs"][0]["data"], json!({"age": 36, "name": {"first": "Ada"}}));
    let names = server.post("/db/people/~query", &json!({"select": []})).send().expect_status(200).json();
    assert!(names["docs"].as_array().unwrap().iter().all(|doc| doc["data"] == json!({})), "{names}");
    let doc = server.get("/db/people/ada?select=city").send().expect_status(200).json();
    assert_eq!(doc["data"], json!({"city": "london"}));
}

#[test]
fn numbers_over_a_query_are_one_answer() {
    let server = people();
    let target = target("/db/people", &[("count", ""), ("sum", "age"), ("avg", "age"), ("avg", "none")]);
    let answer = result(&server, &target);
    assert_eq!(answer["aggregates"]["count"], 5);
    assert_eq!(answer["aggregates"]["sum(age)"], 77.5);
    assert_eq!(answer["aggregates"]["avg(none)"], Value::Null);
    let avg = answer["aggregates"]["avg(age)"].as_f64().unwrap();
    assert!((avg - 77.5 / 3.0).abs() < 1e-12, "{avg}");
    let body = json!({"where": ["city", "==", "paris"], "aggregates": [{"count": true}]});
    let sent = server.post("/db/people/~query", &body).send().expect_status(200).json();
    check_schema("result", &sent);
    assert_eq!(sent["aggregates"], json!({"count": 3}));
}

#[test]
fn a_collection_group_is_every_collection_of_that_name() {
    let server = dev();
    for path in ["reviews/top", "films/a/reviews/one", "films/b/reviews/two", "films/b/cast/x/reviews/three", "films/a"]
    {
        put(&server, path, json!({"stars": path.len()}));
    }
    let all = result(&server, "/db/~/reviews");
    let paths: Vec<&str> = all["docs"].as_array().unwrap().iter().filter_map(|doc| doc["path"].as_str()).collect();
    assert_eq!(paths, ["films/a/reviews/one", "films/b/cast/x/reviews/three", "films/b/reviews/two", "reviews/top"]);
    assert_eq!(found(&server, "/db/reviews"), "top");
    assert_eq!(found(&server, &target("/db/~/reviews", &[("where", "stars gt 19")])), "three");
    let sent = server.post("/db/~/reviews/~query", &json!({"limit": 1})).send().expect_status(200).json();
    assert_eq!(shown(&sent), "one");
    let grouped =
        server.post("/db/reviews/~query", &json!({"group": true, "limit": 1})).send().expect_status(200).json();
    assert_eq!(shown(&grouped), "one");
}

#[test]
fn pages_follow_each_other_by_links_and_show_one_version() {
    let server = dev();
    let writes: Vec<Value> =
        (0..2_500).map(|n| json!({"set": format!("c/{n:04}"), "data": {"n": 2_500 - n, "even": n % 2 == 0}})).collect();
    let written = commit(&server, &writes);
    let mut next = Some("/db/c?orderBy=n".to_owned());
    let (mut seen, mut pages) = (Vec::new(), 0);
    while let Some(page) = next {
        let answer = server.get(&page).send().expect_status(200);
        let json = answer.json();
        check_schema("result", &json);
        assert_eq!(json["version"], written["version"], "all pages are of the version of the first");
        seen.extend(hearth_tests::ids(json["docs"].as_array().unwrap()));
        pages += 1;
        next = answer.header("Link").map(|link| {
            assert!(link.ends_with(">; rel=\"next\"") || link.contains(">; rel=\"next\""), "{link}");
            link[1..link.find('>').unwrap()].to_owned()
        });
        assert_eq!(json["more"] == true, next.is_some());
        // What is written between two pages shows on none.
        put(&server, "c/between", json!({"n": 0}));
    }
    let want: Vec<String> = (0..2_500).rev().map(|n| format!("{n:04}")).collect();
    assert_eq!((pages, seen), (3, want));
    assert_eq!(result(&server, "/db/c?limit=all")["size"], 2_501);
    // A limit of one's own is a page too.
    let limited = server.get("/db/c?limit=2").send().expect_status(200);
    assert!(limited.json()["more"] == false || limited.header("Link").is_some(), "{:?}", limited.headers);
}

#[test]
fn a_fault_in_a_parameter_is_named_with_its_column() {
    let server = dev();
    for (params, at) in [
        (&[("where", "room like lobby")] as &[(&str, &str)], "where, column 6"),
        (&[("where", "room eq 01234")], "where, column 10"),
        (&[("where", "room eq")], "where, column 8"),
        (&[("orderBy", "n sideways")], "orderBy, column 3"),
        (&[("limit", "0")], "limit, column 1"),
        (&[("limit", "-1")], "limit, column 1"),
        (&[("offset", "many")], "offset, column 1"),
        (&[("at", "yesterday")], "at, column 1"),
        (&[("colour", "red")], "colour"),
        (&[("limit", "1"), ("limit", "2")], "limit"),
        (&[("startAt", "[1]"), ("startAfter", "[1]")], "startAfter"),
        (&[("limitToLast", "2")], "limitToLast"),
        (&[("count", ""), ("select", "a")], "select"),
    ] {
        let answer = server.get(&target("/db/c", params)).send();
        assert_eq!(problem(&answer, 400, "invalid-argument")["at"], at, "{params:?}");
    }
    for (body, at) in [
        (json!({"colour": "red"}), "/colour"),
        (json!({"where": ["a", "like", 1]}), "/where/1"),
        (json!({"where": {"and": []}}), "/where/and"),
        (json!({"where": {"or": [["a", "==", {"$what": 1}]]}}), "/where/or/0/2/$what"),
        (json!({"limit": "some"}), "/limit"),
        (json!({"orderBy": [["a", "up"]]}), "/orderBy/0/1"),
    ] {
        let answer = server.post("/db/c/~query", &body).send();
        let told = problem(&answer, 400, "invalid-argument");
        let place = told["at"].as_str().unwrap_or_default();
        assert!(place.starts_with(at) || at.starts_with(place) && !place.is_empty(), "{body} is told of {told}");
    }
}
