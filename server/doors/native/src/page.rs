//! Pages for people: the frame of the live page of an address, and what stands at `/`. All text is escaped.

use hearth_core::DatabaseName;

use crate::address::Place;

/// What a page of ours may do: run our scripts, wear our styles, talk to us. Nothing from elsewhere, nothing inline.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The frame of the live page of an address; a script fills it. It holds no data.
pub fn live(place: &Place, database: &DatabaseName) -> String {
    let kind = match place {
        Place::Database => "root",
        Place::Collection(_) | Place::Group(_) => "collection",
        Place::Document(_) => "document",
    };
    let path = escape(&place.path());
    let title = if path.is_empty() { "Database" } else { &path };
    let (project, name) = (escape(database.project()), escape(database.database()));
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · Hearth</title>
<link rel="stylesheet" href="/sdk/live/style.css">
<link rel="modulepreload" href="/sdk/hearth.js">
<script type="module" src="/sdk/live/live.js"></script>
</head>
<body>
<main data-path="{path}" data-kind="{kind}" data-project="{project}" data-database="{name}"></main>
<noscript><p>This page is a small program: it needs JavaScript. Programs get JSON at this address.</p></noscript>
</body>
</html>
"#
    )
}

/// What a browser sees at `/`.
pub fn welcome() -> &'static str {
    r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Hearth</title>
<link rel="stylesheet" href="/sdk/live/style.css">
</head>
<body>
<main>
<h1>Hearth</h1>
<p>This is a Hearth database server, and it serves.</p>
<ul>
<li><a href="/demo">A chat</a>: open it in two windows</li>
<li><a href="/db">The database</a>: look into it, change it, watch it change</li>
</ul>
</main>
</body>
</html>
"#
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_its_attribute() {
        let database = DatabaseName::parse("demo", "(default)").unwrap();
        let page = live(&Place::parse("a/\"><script>alert(1)<").unwrap_or(Place::Database), &database);
        assert!(page.contains("data-path=\"a/&quot;&gt;&lt;script&gt;alert(1)&lt;\" data-kind=\"document\""), "{page}");
        assert_eq!(page.matches("<script").count(), 1);
    }

    #[test]
    fn the_root_has_its_kind() {
        let database = DatabaseName::parse("shop", "eu").unwrap();
        assert!(
            live(&Place::Database, &database)
                .contains(r#"<main data-path="" data-kind="root" data-project="shop" data-database="eu">"#)
        );
    }
}
