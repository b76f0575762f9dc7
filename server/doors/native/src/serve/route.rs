//! The routes: every kind of address, its methods, and who may ask.

use axum::http::Method;

use crate::address::{Address, Part, Place};

/// One kind of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The methods that it answers, beside `OPTIONS`.
    pub methods: &'static [&'static str],
    /// What its addresses look like.
    pub pattern: &'static str,
    /// One of them.
    pub example: &'static str,
    /// Whether `serve` answers without authority.
    pub open: bool,
    /// Whether pages of other origins may read the answers.
    pub shared: bool,
}

const fn route(pattern: &'static str, example: &'static str, methods: &'static [&'static str]) -> Route {
    Route { methods, pattern, example, open: false, shared: true }
}

const ROOT: Route = Route { open: true, ..route("/", "/", &["GET", "HEAD"]) };
const HEALTH: Route = Route { open: true, ..route("/health", "/health", &["GET", "HEAD"]) };
const METRICS: Route = Route { shared: false, ..route("/metrics", "/metrics", &["GET", "HEAD"]) };
const TICKETS: Route = route("/tickets", "/tickets", &["POST"]);
const SDK: Route = route("/sdk/{file}", "/sdk/hearth.js", &["GET", "HEAD"]);
const DATABASE: Route = route("/db", "/db", &["GET", "HEAD", "POST", "DELETE"]);
const COLLECTION: Route = route("/db/{collection}", "/db/messages", &["GET", "HEAD", "POST"]);
/// With `?recursive`, which only `DELETE` understands.
const COLLECTION_WHOLE: Route = Route { methods: &["GET", "HEAD", "POST", "DELETE"], ..COLLECTION };
const DOCUMENT: Route = route("/db/{document}", "/db/messages/abc", &["GET", "HEAD", "PUT", "PATCH", "DELETE"]);
const GROUP: Route = route("/db/~/{id}", "/db/~/messages", &["GET", "HEAD"]);
const QUERY_ALL: Route = route("/db/~query", "/db/~query", &["POST"]);
const QUERY: Route = route("/db/{collection}/~query", "/db/messages/~query", &["POST"]);
const FEED: Route = Route { shared: false, ..route("/feed", "/feed", &["GET", "HEAD"]) };
const LINKS: Route = route("/links", "/links", &["POST"]);
const LINK: Route = route("/links/{link}", "/links/abc", &["POST", "DELETE"]);
const DEMO: Route = route("/demo", "/demo", &["GET", "HEAD"]);
const BACKUPS: Route = Route { shared: false, ..route("/backup", "/backup", &["GET"]) };
const BACKUP: Route = Route { shared: false, ..route("/p/{project}/backup", "/p/demo/backup", &["GET"]) };
const BACKUP_SNAPSHOT: Route =
    Route { pattern: "/p/{project}/backup/snapshot", example: "/p/demo/backup/snapshot", ..BACKUP };
const BACKUP_LOG: Route = Route { pattern: "/p/{project}/backup/log", example: "/p/demo/backup/log", ..BACKUP };
const TTL: Route = Route { shared: false, ..route("/ttl", "/ttl", &["GET"]) };
const TTL_GROUP: Route = Route { shared: false, ..route("/ttl/{group}", "/ttl/carts", &["PUT", "DELETE"]) };
// The same again under names of databases and projects.
const NAMED: [Route; 4] = [
    Route { pattern: "/db@{database}/…", example: "/db@other/messages", ..COLLECTION },
    Route { pattern: "/p/{project}/db/…", example: "/p/demo/db/messages", ..COLLECTION },
    Route { pattern: "/feed@{database}", example: "/feed@other", ..FEED },
    Route { pattern: "/p/{project}/links", example: "/p/demo/links", ..LINKS },
];

/// Every route, for a test to walk.
pub fn routes() -> Vec<Route> {
    let own =
        [ROOT, HEALTH, METRICS, TICKETS, SDK, DEMO, DATABASE, COLLECTION, DOCUMENT, GROUP, QUERY, FEED, LINKS, LINK];
    let own = own.into_iter().chain([QUERY_ALL, BACKUPS, BACKUP, BACKUP_SNAPSHOT, BACKUP_LOG, TTL, TTL_GROUP]);
    own.chain(NAMED).collect()
}

/// The route of an address, where its parameters may say that all beneath it is meant.
pub(crate) fn with(address: &Address, is_recursive: bool) -> Route {
    match address {
        Address::Data(_, Place::Collection(_)) if is_recursive => COLLECTION_WHOLE,
        address => of(address),
    }
}

/// The route of an address alone.
pub(crate) fn of(address: &Address) -> Route {
    match address {
        Address::Root => ROOT,
        Address::Health => HEALTH,
        Address::Metrics => METRICS,
        Address::Tickets => TICKETS,
        Address::File(name) if name.starts_with("demo/") => DEMO,
        Address::File(_) => SDK,
        Address::Data(_, Place::Database) => DATABASE,
        Address::Data(_, Place::Collection(_)) => COLLECTION,
        Address::Data(_, Place::Document(_)) => DOCUMENT,
        Address::Data(_, Place::Group(_)) => GROUP,
        Address::Query(_, Place::Database) => QUERY_ALL,
        Address::Query(..) => QUERY,
        Address::Feed(_) => FEED,
        Address::Links(_, None) => LINKS,
        Address::Links(_, Some(_)) => LINK,
        Address::Ttl(_, None) => TTL,
        Address::Ttl(_, Some(_)) => TTL_GROUP,
        Address::Backups => BACKUPS,
        Address::Backup(_, Part::Point) => BACKUP,
        Address::Backup(_, Part::Snapshot) => BACKUP_SNAPSHOT,
        Address::Backup(_, Part::Log) => BACKUP_LOG,
    }
}

impl Route {
    /// Whether it answers a method.
    pub(crate) fn takes(&self, method: &Method) -> bool {
        self.methods.contains(&method.as_str())
    }

    /// What `Allow` says.
    pub(crate) fn allow(&self) -> String {
        format!("{}, OPTIONS", self.methods.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_of_its_route() {
        for route in routes() {
            let is_post = route.takes(&Method::POST);
            let address = Address::parse(route.example, is_post).unwrap().unwrap();
            assert_eq!(of(&address).methods, route.methods, "{}", route.example);
            assert_eq!(of(&address).open, route.open, "{}", route.example);
        }
    }

    #[test]
    fn only_the_root_and_health_are_open() {
        let open: Vec<_> = routes().iter().filter(|route| route.open).map(|route| route.pattern).collect();
        assert_eq!(open, ["/", "/health"]);
    }
}
