//! The crate `firestore`, unmodified, before the real server: `FIRESTORE_EMULATOR_HOST` says where that is.
//!
//! A program and no test: it ends with an error at the first thing that is not as it should be.

use std::time::Duration;

use backoff::Error as BackoffError;
use firestore::*;
use futures::stream::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const CITIES: &str = "cities";
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct City {
    name: String,
    n: i64,
    size: f64,
    tags: Vec<String>,
    at: FirestoreTimestamp,
    place: FirestoreLatLng,
    none: Option<String>,
}

fn city(n: i64) -> City {
    let id = char::from(b'a' + n as u8);
    City {
        name: format!("city {id} ä😀"),
        n,
        size: n as f64 + 0.5,
        tags: vec![id.to_string(), "all".into()],
        at: FirestoreTimestamp(FirestoreInstant::from_second(1_700_000_000 + n).expect("a time")),
        place: FirestoreLatLng(FirestoreGeoPoint { latitude: 1.5, longitude: -2.0 }),
        none: None,
    }
}

fn id(n: i64) -> String {
    char::from(b'a' + n as u8).to_string()
}

#[tokio::main]
async fn main() -> Outcome {
    let db = FirestoreDb::new("conform-rust").await?;
    documents(&db).await?;
    println!("ok documents are made, read, changed and deleted");
    queries(&db).await?;
    println!("ok queries filter, order, cut and count");
    transactions(&db).await?;
    println!("ok transactions count to the last one");
    listeners(&db).await?;
    println!("ok listeners hear every change");
    Ok(())
}

async fn documents(db: &FirestoreDb) -> Outcome {
    for n in 0..5 {
        let made: City = db.fluent().insert().into(CITIES).document_id(id(n)).object(&city(n)).execute().await?;
        assert_eq!(made, city(n));
    }
    let again = db.fluent().insert().into(CITIES).document_id("a").object(&city(0)).execute::<City>().await;
    assert!(matches!(again, Err(errors::FirestoreError::DataConflictError(_))), "{again:?}");
    let read: Option<City> = db.fluent().select().by_id_in(CITIES).obj().one("b").await?;
    assert_eq!(read, Some(city(1)));
    let none: Option<City> = db.fluent().select().by_id_in(CITIES).obj().one("none").await?;
    assert_eq!(none, None);
    let changed: City = db
        .fluent()
        .update()
        .fields(paths!(City::{n, tags}))
        .in_col(CITIES)
        .document_id("b")
        .object(&City { n: 10, name: "not written".into(), ..city(1) })
        .execute()
        .await?;
    assert_eq!(changed, City { n: 10, ..city(1) });
    let missing = db
        .fluent()
        .update()
        .in_col(CITIES)
        .precondition(FirestoreWritePrecondition::Exists(true))
        .document_id("none")
        .object(&city(1))
        .execute::<City>()
        .await;
    assert!(matches!(missing, Err(errors::FirestoreError::DataNotFoundError(_))), "{missing:?}");
    db.fluent().delete().from(CITIES).document_id("b").execute().await?;
    let gone: Option<City> = db.fluent().select().by_id_in(CITIES).obj().one("b").await?;
    assert_eq!(gone, None);
    let several: Vec<(String, Option<City>)> =
        db.fluent().select().by_id_in(CITIES).obj().batch_with_errors(["a", "b", "c"]).await?.try_collect().await?;
    assert_eq!(several.iter().filter(|(_, found)| found.is_some()).count(), 2);
    let listed: Vec<City> =
        db.fluent().list().from(CITIES).page_size(2).obj().stream_all_with_errors().await?.try_collect().await?;
    assert_eq!(listed, [0, 2, 3, 4].map(city));
    Ok(())
}

async fn queries(db: &FirestoreDb) -> Outcome {
    let found: Vec<City> = db
        .fluent()
        .select()
        .from(CITIES)
        .filter(|q| {
            q.for_all([q.field(path!(City::n)).greater_than(0), q.field(path!(City::tags)).array_contains("all")])
        })
        .order(|order| order.fields([order.field(path!(City::n)).desc()]))
        .limit(2)
        .obj()
        .query()
        .await?;
    assert_eq!(found, [4, 3].map(city));
    let either: Vec<City> = db
        .fluent()
        .select()
        .from(CITIES)
        .filter(|q| q.for_any([q.field(path!(City::n)).eq(0), q.field(path!(City::size)).is_in([3.5, 4.5])]))
        .order(|order| order.fields([order.field(path!(City::n)).asc()]))
        .start_at(FirestoreQueryCursor::AfterValue(vec![0.into()]))
        .obj()
        .query()
        .await?;
    assert_eq!(either, [3, 4].map(city));
    #[derive(Debug, Deserialize)]
    struct Numbers {
        count: i64,
        sum: i64,
        mean: f64,
    }
    let numbers: Vec<Numbers> = db
        .fluent()
        .select()
        .from(CITIES)
        .aggregate(|a| {
            a.fields([
                a.field("count").count(),
                a.field("sum").sum(path!(City::n)),
                a.field("mean").avg(path!(City::n)),
            ])
        })
        .obj()
        .query()
        .await?;
    assert_eq!((numbers[0].count, numbers[0].sum, numbers[0].mean), (4, 9, 2.25));
    Ok(())
}

async fn transactions(db: &FirestoreDb) -> Outcome {
    #[derive(Debug, Serialize, Deserialize)]
    struct Counter {
        n: i64,
    }
    const EACH: i64 = 5;
    db.fluent().insert().into("counters").document_id("a").object(&Counter { n: 0 }).execute::<Counter>().await?;
    let count = async |db: FirestoreDb| -> Outcome {
        for _ in 0..EACH {
            db.run_transaction(|db, transaction| {
                Box::pin(async move {
                    let read: Option<Counter> = db.fluent().select().by_id_in("counters").obj().one("a").await?;
                    let counter = Counter { n: read.expect("it was made").n + 1 };
                    db.fluent()
                        .update()
                        .in_col("counters")
                        .document_id("a")
                        .object(&counter)
                        .add_to_transaction(transaction)?;
                    Ok::<_, BackoffError<errors::FirestoreError>>(())
                })
            })
            .await?;
        }
        Ok(())
    };
    let (one, two, three) = tokio::join!(count(db.clone()), count(db.clone()), count(db.clone()));
    (one?, two?, three?);
    let read: Option<Counter> = db.fluent().select().by_id_in("counters").obj().one("a").await?;
    assert_eq!(read.map(|counter| counter.n), Some(3 * EACH));
    Ok(())
}

async fn listeners(db: &FirestoreDb) -> Outcome {
    let (query, one) = (FirestoreListenerTarget::new(42), FirestoreListenerTarget::new(17));
    let mut listener = db.create_listener(FirestoreMemListenStateStorage::new()).await?;
    db.fluent()
        .select()
        .from(CITIES)
        .filter(|q| q.field(path!(City::n)).greater_than(2))
        .listen()
        .add_target(query, &mut listener)?;
    db.fluent().select().by_id_in(CITIES).batch_listen(["a"]).add_target(one, &mut listener)?;
    let (tell, mut told) = mpsc::unbounded_channel();
    listener
        .start(move |event| {
            let what = match &event {
                FirestoreListenEvent::DocumentChange(change) => {
                    let id = change.document.as_ref().and_then(|document| document.name.rsplit('/').next());
                    let left = if change.removed_target_ids.is_empty() { "" } else { " left" };
                    id.map(|id| format!("{id}{left}"))
                }
                FirestoreListenEvent::DocumentDelete(gone) => {
                    gone.document.rsplit('/').next().map(|id| format!("{id} gone"))
                }
                _ => None,
            };
            if let Some(what) = what {
                let _ = tell.send(what);
            }
            async { Ok(()) }
        })
        .await?;
    let mut hear = async |wanted: &[&str]| -> Outcome {
        let mut missing: Vec<&str> = wanted.to_vec();
        while !missing.is_empty() {
            let what = tokio::time::timeout(PATIENCE, told.recv()).await?.ok_or("the listener ended")?;
            missing.retain(|one| *one != what);
        }
        Ok(())
    };
    hear(&["d", "e", "a"]).await?;
    db.fluent().insert().into(CITIES).document_id("f").object(&city(5)).execute::<City>().await?;
    hear(&["f"]).await?;
    db.fluent()
        .update()
        .fields(paths!(City::{n}))
        .in_col(CITIES)
        .document_id("d")
        .object(&city(1))
        .execute::<City>()
        .await?;
    hear(&["d left"]).await?;
    db.fluent().delete().from(CITIES).document_id("e").execute().await?;
    hear(&["e gone"]).await?;
    db.fluent().delete().from(CITIES).document_id("a").execute().await?;
    hear(&["a gone"]).await?;
    listener.shutdown().await?;
    Ok(())
}
