//! What a request asks: addresses and bodies in the form encoding of browsers, read once, here.

use std::time::Duration;

use percent_encoding::percent_decode;

/// What is wrong with a request, whatever the session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormError {
    #[error("the field {name} is not percent-encoded UTF-8")]
    Encoding { name: String },
    #[error("the field {name} cannot be {value:?}")]
    Value { name: &'static str, value: String },
    #[error("the field {name} is missing")]
    Missing { name: &'static str },
    #[error("there are {maps} maps and `count` says {count}")]
    Count { maps: usize, count: u64 },
    #[error("map {id} comes twice")]
    Twice { id: u64 },
    #[error("there are more than {} maps", Maps::COUNT_MAX)]
    TooMany,
    #[error("{method} is not used with these fields")]
    Method { method: &'static str },
}

/// The way a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
}

/// What a request's address asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A new session on a database; `headers` as a block, where the address carries one.
    Open { database: String, headers: String },
    /// The body's maps are for this session.
    Send { sid: String, ack: Option<u64> },
    /// Whatever this session has to say.
    Receive { sid: String, ack: Option<u64>, way: Way },
    /// The session is over.
    End { sid: String },
}

/// How a client can be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As it comes, in one long answer.
    Stream,
    /// In an answer that ends after the first chunk, or says that there is nothing after this time; without one, after the
    /// server's own.
    Poll { hold: Option<Duration> },
}

/// Messages of a client, each with its number, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Maps(Vec<(u64, String)>);

impl Maps {
    /// Most maps in one body. Source: clients send no more than 1,000.
    pub(super) const COUNT_MAX: usize = 1_000;

    /// The maps: their numbers rise.
    pub(super) fn into_inner(self) -> Vec<(u64, String)> {
        self.0
    }
}

/// What the body of a session's first request holds, and of later ones but the headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) maps: Maps,
    pub(super) headers: String,
}

impl Asked {
    /// Reads a request's address. `session` is a second spelling of the session's id, which must be the first one's.
    pub(super) fn parse(method: Method, query: &str) -> Result<Self, FormError> {
        #[derive(Default)]
        struct Fields {
            version: Option<String>,
            database: Option<String>,
            rid: Option<String>,
            sid: Option<String>,
            session: Option<String>,
            ack: Option<String>,
            polls: Option<String>,
            hold: Option<String>,
            kind: Option<String>,
            headers: Option<String>,
        }
        let mut fields = Fields::default();
        for field in split(query.as_bytes()) {
            let (name, value) = field?;
            let place = match name.as_str() {
                "VER" => &mut fields.version,
                "database" => &mut fields.database,
                "RID" => &mut fields.rid,
                "SID" => &mut fields.sid,
                "gsessionid" => &mut fields.session,
                "AID" => &mut fields.ack,
                "CI" => &mut fields.polls,
                "TO" => &mut fields.hold,
                "TYPE" => &mut fields.kind,
                "$httpHeaders" => &mut fields.headers,
                // Cache busters, counters of attempts, and what later clients may add.
                _ => continue,
            };
            *place = Some(value);
        }
        if let Some(value) = fields.version.filter(|version| version != "8") {
            return Err(FormError::Value { name: "VER", value });
        }
        let ack = match fields.ack {
            // Nothing was seen yet.
            None => None,
            Some(text) if text == "-1" => None,
            Some(text) => Some(number("AID", text)?),
        };
        let Some(sid) = fields.sid else {
            if method == Method::Get {
                return Err(FormError::Missing { name: "SID" });
            }
            fields.rid.ok_or(FormError::Missing { name: "RID" }).and_then(|rid| number("RID", rid))?;
            let database = fields.database.ok_or(FormError::Missing { name: "database" })?;
            return Ok(Self::Open { database, headers: fields.headers.unwrap_or_default() });
        };
        if let Some(value) = fields.session.filter(|session| *session != sid) {
            return Err(FormError::Value { name: "gsessionid", value });
        }
        match (fields.kind.as_deref(), method) {
            // By beacon, or as the address of an image where there are no beacons.
            (Some("terminate"), _) => Ok(Self::End { sid }),
            (Some("xmlhttp"), Method::Get) => {
                let way = match fields.polls.as_deref() {
                    None | Some("0") => Way::Stream,
                    Some("1") => {
                        let hold = fields.hold.map(|hold| number("TO", hold)).transpose()?;
                        Way::Poll { hold: hold.map(Duration::from_millis) }
                    }
                    Some(other) => return Err(FormError::Value { name: "CI", value: other.into() }),
                };
                match fields.rid {
                    Some(rid) if rid == "rpc" => Ok(Self::Receive { sid, ack, way }),
                    Some(value) => Err(FormError::Value { name: "RID", value }),
                    None => Err(FormError::Missing { name: "RID" }),
                }
            }
            (None, Method::Post) => {
                fields.rid.ok_or(FormError::Missing { name: "RID" }).and_then(|rid| number("RID", rid))?;
                Ok(Self::Send { sid, ack })
            }
            (None, Method::Get) => Err(FormError::Missing { name: "TYPE" }),
            (Some("xmlhttp"), Method::Post) => Err(FormError::Method { method: "POST" }),
            (Some(other), _) => Err(FormError::Value { name: "TYPE", value: other.into() }),
        }
    }
}

impl Body {
    /// Reads a body: `count`, `ofs`, and a `reqN___data__` for each map.
    pub(super) fn parse(body: &[u8]) -> Result<Self, FormError> {
        let (mut count, mut offset, mut headers, mut texts) = (None, 0, String::new(), Vec::new());
        for field in split(body) {
            let (name, value) = field?;
            match name.as_str() {
                "count" => count = Some(number("count", value)?),
                "ofs" => offset = number("ofs", value)?,
                "headers" => headers = value,
                name => {
                    let index = name.strip_prefix("req").and_then(|rest| rest.strip_suffix("___data__"));
                    if let Some(index) = index {
                        if texts.len() == Maps::COUNT_MAX {
                            return Err(FormError::TooMany);
                        }
                        texts.push((number("req…___data__", index.into())?, value));
                    }
                }
            }
        }
        let count = count.unwrap_or(0);
        if texts.len() as u64 != count {
            return Err(FormError::Count { maps: texts.len(), count });
        }
        let mut maps = Vec::with_capacity(texts.len());
        for (index, text) in texts {
            let id = index.checked_add(offset).filter(|id| *id < u64::MAX);
            let id = id.ok_or_else(|| FormError::Value { name: "ofs", value: offset.to_string() })?;
            maps.push((id, text));
        }
        maps.sort_unstable_by_key(|(id, _)| *id);
        match maps.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(FormError::Twice { id: pair[0].0 }),
            None => Ok(Self { maps: Maps(maps), headers }),
        }
    }
}

/// A header's value in a block of `Name:value` lines, whatever the case of its name.
pub(super) fn header<'a>(block: &'a str, name: &str) -> Option<&'a str> {
    block.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Reads all that a request has, and forgets it; for `fuzz`.
pub(crate) fn read(address: &str, body: &[u8]) {
    let _ = (Asked::parse(Method::Get, address), Asked::parse(Method::Post, address));
    if let Ok(body) = Body::parse(body) {
        let _ = header(&body.headers, "Authorization");
    }
}

fn split(form: &[u8]) -> impl Iterator<Item = Result<(String, String), FormError>> {
    form.split(|byte| *byte == b'&').filter(|field| !field.is_empty()).map(|field| {
        let (name, value) = match field.iter().position(|byte| *byte == b'=') {
            Some(at) => (&field[..at], &field[at + 1..]),
            None => (field, &[][..]),
        };
        let wrong = || FormError::Encoding { name: String::from_utf8_lossy(name).chars().take(40).collect() };
        Ok((decoded(name).ok_or_else(wrong)?, decoded(value).ok_or_else(wrong)?))
    })
}

fn decoded(text: &[u8]) -> Option<String> {
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    String::from_utf8(percent_decode(&spaced).collect()).ok()
}

fn number(name: &'static str, value: String) -> Result<u64, FormError> {
    // `parse` would take a sign.
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    value
        .parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| FormError::Value { name, value: value.chars().take(40).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn asked(method: Method, query: &str, want: Expect) {
        want.assert_eq(&match Asked::parse(method, query) {
            Ok(asked) => format!("{asked:?}"),
            Err(error) => format!("refused: {error}"),
        });
    }

    fn body(text: &str, want: Expect) {
        want.assert_eq(&match Body::parse(text.as_bytes()) {
            Ok(body) => format!("{:?} {:?}", body.maps.0, body.headers),
            Err(error) => format!("refused: {error}"),
        });
    }

    #[test]
    fn a_post_without_a_session_opens_one() {
        let query = "VER=8&database=projects%2Fdemo%2Fdatabases%2F(default)&RID=56119&CVER=22&X-HTTP-Session-Id=gsessionid&zx=r&t=1";
        asked(Method::Post, query, expect![[r#"Open { database: "projects/demo/databases/(default)", headers: "" }"#]]);
        asked(Method::Post, "VER=8&database=d", expect!["refused: the field RID is missing"]);
        asked(Method::Post, "VER=8&RID=1", expect!["refused: the field database is missing"]);
        asked(Method::Post, "VER=9&RID=1&database=d", expect![[r#"refused: the field VER cannot be "9""#]]);
        asked(Method::Get, "VER=8&RID=rpc&TYPE=xmlhttp", expect!["refused: the field SID is missing"]);
    }

    #[test]
    fn a_post_with_a_session_sends_and_a_get_receives() {
        asked(Method::Post, "gsessionid=S&SID=S&RID=918&AID=1", expect![[r#"Send { sid: "S", ack: Some(1) }"#]]);
        let get = "gsessionid=S&SID=S&RID=rpc&AID=0&TYPE=xmlhttp&CI=";
        asked(Method::Get, &format!("{get}0"), expect![[r#"Receive { sid: "S", ack: Some(0), way: Stream }"#]]);
        asked(
            Method::Get,
            &format!("{get}1&TO=5000"),
            expect![[r#"Receive { sid: "S", ack: Some(0), way: Poll { hold: Some(5s) } }"#]],
        );
        asked(Method::Get, &format!("{get}2"), expect![[r#"refused: the field CI cannot be "2""#]]);
        asked(Method::Get, "SID=S&RID=7&TYPE=xmlhttp", expect![[r#"refused: the field RID cannot be "7""#]]);
        asked(Method::Get, "SID=S&RID=rpc&TYPE=html", expect![[r#"refused: the field TYPE cannot be "html""#]]);
        asked(Method::Post, "SID=S&RID=-1", expect![[r#"refused: the field RID cannot be "-1""#]]);
        asked(Method::Post, "SID=S&RID=1&AID=x", expect![[r#"refused: the field AID cannot be "x""#]]);
        asked(Method::Post, "SID=S&RID=1&AID=-1", expect![[r#"Send { sid: "S", ack: None }"#]]);
        asked(Method::Post, "SID=S&gsessionid=T&RID=1", expect![[r#"refused: the field gsessionid cannot be "T""#]]);
    }

    #[test]
    fn a_session_is_ended_by_a_beacon_or_by_an_image() {
        asked(Method::Post, "VER=8&SID=S&RID=922&TYPE=terminate&zx=a", expect![[r#"End { sid: "S" }"#]]);
        asked(Method::Get, "VER=8&SID=S&RID=922&TYPE=terminate&zx=a", expect![[r#"End { sid: "S" }"#]]);
    }

    #[test]
    fn maps_are_numbered_from_the_offset_by_the_number_in_their_key() {
        body("count=1&ofs=3&req0___data__=%7B%22a+b%22%3A1%7D", expect![[r#"[(3, "{\"a b\":1}")] """#]]);
        body("count=2&ofs=1&req3___data__=b&req2___data__=a%2B", expect![[r#"[(3, "a+"), (4, "b")] """#]]);
        body("count=0", expect![[r#"[] """#]]);
        body("", expect![[r#"[] """#]]);
    }

    #[test]
    fn a_body_that_contradicts_itself_is_refused() {
        body("count=2&req0___data__=a", expect!["refused: there are 1 maps and `count` says 2"]);
        body("count=2&req0___data__=a&req0___data__=b", expect!["refused: map 0 comes twice"]);
        body(
            "count=1&ofs=18446744073709551615&req0___data__=",
            expect![[r#"refused: the field ofs cannot be "18446744073709551615""#]],
        );
        body("count=1&reqx___data__=a", expect![[r#"refused: the field req…___data__ cannot be "x""#]]);
        body("count=1&req0___data__=%FF", expect!["refused: the field req0___data__ is not percent-encoded UTF-8"]);
        let many: String = (0..=1_000).map(|n| format!("req{n}___data__=a&")).collect();
        body(&format!("count=1001&{many}"), expect!["refused: there are more than 1000 maps"]);
    }

    #[test]
    fn headers_come_as_a_block_of_lines_in_the_body() {
        let text =
            "headers=X-Goog-Api-Client%3Agl-js%2F%20fire%2F12.19.0%0D%0Aauthorization%3ABearer%20t%0D%0A&count=0";
        let body = Body::parse(text.as_bytes()).unwrap();
        assert_eq!(header(&body.headers, "Authorization"), Some("Bearer t"));
        assert_eq!(header(&body.headers, "X-Firebase-AppCheck"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), query in "\\PC{0,80}") {
            let _ = Body::parse(&bytes);
            let _ = (Asked::parse(Method::Get, &query), Asked::parse(Method::Post, &query));
        }

        #[test]
        fn what_is_encoded_is_read_again(texts in prop::collection::vec("\\PC{0,20}", 0..5), offset in 0u64..100) {
            let encode = |text: &String| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
            let maps: String = texts.iter().enumerate().map(|(n, text)| format!("&req{n}___data__={}", encode(text))).collect();
            let body = Body::parse(format!("count={}&ofs={offset}{maps}", texts.len()).as_bytes()).unwrap();
            let want: Vec<_> = (offset..).zip(texts).collect();
            prop_assert_eq!(body.maps.into_inner(), want);
        }
    }
}
