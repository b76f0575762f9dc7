//! Neighbours of a vector among a query's documents, by looking at each: exact, and linear in their number.

use std::cmp::Ordering;
use std::sync::Arc;

use hearth_core::query::project;
use hearth_core::value::{Map, Value, insert};
use hearth_core::{Document, FieldPath};

/// How far apart two vectors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// The length of their difference.
    Euclidean,
    /// One less the cosine of their angle.
    Cosine,
    /// Their scalar product; the larger, the nearer.
    DotProduct,
}

/// Which neighbours are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Near {
    pub(crate) field: FieldPath,
    pub(crate) vector: Arc<[f64]>,
    pub(crate) measure: Measure,
    pub(crate) limit: usize,
    /// Where each result says its distance.
    pub(crate) result_field: Option<FieldPath>,
    /// The farthest distance; for a scalar product the smallest.
    pub(crate) threshold: Option<f64>,
    /// The projection, applied after the distance was put in.
    pub(crate) select: Option<Vec<FieldPath>>,
}

/// The nearest so far, nearest first, with their distances.
#[derive(Debug, Default)]
pub(crate) struct Nearest(Vec<(f64, Arc<Document>)>);

impl Near {
    /// Looks at more documents; equally near ones keep the sequence in which they are looked at.
    pub(crate) fn look(&self, nearest: &mut Nearest, documents: &[Arc<Document>]) {
        nearest.0.extend(
            documents
                .iter()
                .filter_map(|document| match document.get(&self.field)? {
                    Value::Vector(vector) if vector.len() == self.vector.len() => {
                        Some((self.distance(vector), document.clone()))
                    }
                    _ => None,
                })
                .filter(|(distance, _)| self.threshold.is_none_or(|threshold| self.is_near(*distance, threshold))),
        );
        nearest.0.sort_by(|(a, _), (b, _)| self.compare(*a, *b));
        nearest.0.truncate(self.limit);
    }

    /// The nearest documents with what is shown of them.
    pub(crate) fn shown_of(&self, nearest: Nearest) -> Vec<(Arc<Document>, Map)> {
        let shown = |(distance, document): (f64, Arc<Document>)| {
            let shown = self.shown(&document, distance);
            (document, shown)
        };
        nearest.0.into_iter().map(shown).collect()
    }

    fn distance(&self, vector: &[f64]) -> f64 {
        let pairs = || self.vector.iter().zip(vector);
        let product = || pairs().map(|(a, b)| a * b).sum::<f64>();
        let length = |vector: &[f64]| vector.iter().map(|number| number * number).sum::<f64>().sqrt();
        match self.measure {
            Measure::Euclidean => pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt(),
            Measure::Cosine => 1.0 - product() / (length(&self.vector) * length(vector)),
            Measure::DotProduct => product(),
        }
    }

    fn is_near(&self, distance: f64, threshold: f64) -> bool {
        match self.measure {
            Measure::Euclidean | Measure::Cosine => distance <= threshold,
            Measure::DotProduct => distance >= threshold,
        }
    }

    /// What has no distance (the zero vector by its cosine) is the farthest.
    fn compare(&self, a: f64, b: f64) -> Ordering {
        let nearness = match self.measure {
            Measure::Euclidean | Measure::Cosine => a.partial_cmp(&b),
            Measure::DotProduct => b.partial_cmp(&a),
        };
        nearness.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
    }

    fn shown(&self, document: &Document, distance: f64) -> Map {
        let mut whole = document.clone();
        if let Some(field) = &self.result_field {
            insert(&mut whole.fields, field, Value::Double(distance));
        }
        match &self.select {
            None => whole.fields,
            Some(select) => project(&whole, select),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_core::{DocPath, Version};

    fn check(measure: Measure, threshold: Option<f64>, want: &[(&str, f64)]) {
        let documents = [("a", vec![1.0, 0.0]), ("b", vec![0.0, 2.0]), ("c", vec![3.0, 4.0]), ("d", vec![1.0])];
        let documents: Vec<Arc<Document>> = documents
            .into_iter()
            .map(|(id, vector)| {
                let path = DocPath::parse(&format!("v/{id}")).unwrap();
                let inner = Map::from([("at".into(), Value::Vector(vector.into()))]);
                let fields = Map::from([("in".into(), Value::Map(inner))]);
                Arc::new(Document { path, fields, created: Version::ZERO, updated: Version::ZERO })
            })
            .collect();
        let near = Near {
            field: FieldPath::parse("in.at").unwrap(),
            vector: [1.0, 0.0].into(),
            measure,
            limit: 3,
            result_field: Some(FieldPath::parse("far").unwrap()),
            threshold,
            select: Some(vec![FieldPath::parse("far").unwrap()]),
        };
        let mut nearest = Nearest::default();
        documents.chunks(2).for_each(|part| near.look(&mut nearest, part));
        let got: Vec<(String, Map)> = near
            .shown_of(nearest)
            .into_iter()
            .map(|(document, shown)| (document.path.id().to_owned(), shown))
            .collect();
        let want: Vec<(String, Map)> =
            want.iter().map(|(id, far)| ((*id).to_owned(), Map::from([("far".into(), Value::Double(*far))]))).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn the_nearest_come_first_and_other_dimensions_not_at_all() {
        check(Measure::Euclidean, None, &[("a", 0.0), ("b", 5.0_f64.sqrt()), ("c", 20.0_f64.sqrt())]);
        check(Measure::Cosine, None, &[("a", 0.0), ("c", 1.0 - 0.6), ("b", 1.0)]);
        check(Measure::DotProduct, None, &[("c", 3.0), ("a", 1.0), ("b", 0.0)]);
    }

    #[test]
    fn a_threshold_keeps_what_is_within_it() {
        check(Measure::Euclidean, Some(1.0), &[("a", 0.0)]);
        check(Measure::DotProduct, Some(1.0), &[("c", 3.0), ("a", 1.0)]);
    }
}
