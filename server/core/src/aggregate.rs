//! Aggregates: counts, sums and means that can be added to and taken from, in any sequence, with one result.
//!
//! A one-shot answer and a live one use the same [`Tally`], so they agree to the last bit: integers are summed in 128
//! bits, doubles in a fixed-point number wide enough for all of them, and only their sum is rounded, once. A mean is that
//! sum divided, as Firestore divides it: the mean of what sums up to 32 in five numbers is 6.4.
//! Source: google.firestore.v1, comments on `StructuredAggregationQuery.Aggregation`.

use std::borrow::Cow;

use crate::field::FieldPath;
use crate::query::{Aggregate, Fields};
use crate::value::Value;

/// What a query's aggregates have seen so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    documents: u64,
    /// One for each aggregate that looks at a field, in the query's sequence.
    sums: Vec<Sum>,
}

impl Tally {
    /// Nothing seen yet.
    pub fn new(aggregates: &[Aggregate]) -> Self {
        Self { documents: 0, sums: fields(aggregates).map(|_| Sum::default()).collect() }
    }

    /// How many documents were seen.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// Adds a document. `aggregates` are those that the tally was made for.
    pub fn add<F: Fields>(&mut self, aggregates: &[Aggregate], document: &F) -> Result<(), F::Error> {
        self.documents += 1;
        self.each(aggregates, document, Sum::add)
    }

    /// Takes away a document that was added, as it was then.
    pub fn remove<F: Fields>(&mut self, aggregates: &[Aggregate], document: &F) -> Result<(), F::Error> {
        self.documents = self.documents.saturating_sub(1);
        self.each(aggregates, document, Sum::remove)
    }

    fn each<F: Fields>(
        &mut self,
        aggregates: &[Aggregate],
        document: &F,
        act: impl Fn(&mut Sum, &Value),
    ) -> Result<(), F::Error> {
        for (field, sum) in fields(aggregates).zip(&mut self.sums) {
            if let Some(value) = document.get(field)? {
                act(sum, &value);
            }
        }
        Ok(())
    }

    /// Adds a document whose fields were read before, see [`numbers`].
    pub(crate) fn add_numbers(&mut self, numbers: &[Value]) {
        self.documents += 1;
        self.sums.iter_mut().zip(numbers).for_each(|(sum, value)| sum.add(value));
    }

    /// The answers, in the sequence of the aggregates.
    pub fn values(&self, aggregates: &[Aggregate]) -> Vec<Value> {
        let mut sums = self.sums.iter();
        let mut sum = || sums.next().expect("a tally has a sum for each aggregate with a field");
        aggregates
            .iter()
            .map(|aggregate| match aggregate {
                Aggregate::Count { up_to } => {
                    let count = self.documents.min(up_to.unwrap_or(u64::MAX));
                    Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))
                }
                Aggregate::Sum(_) => sum().total(),
                Aggregate::Average(_) => sum().mean(),
            })
            .collect()
    }
}

/// What the aggregates need of a document: one value each, null where there is none to count.
pub(crate) fn numbers<F: Fields>(aggregates: &[Aggregate], document: &F) -> Result<Vec<Value>, F::Error> {
    let number = |value: &Cow<'_, Value>| matches!(**value, Value::Integer(_) | Value::Double(_));
    fields(aggregates)
        .map(|field| Ok(document.get(field)?.filter(number).map_or(Value::Null, Cow::into_owned)))
        .collect()
}

fn fields(aggregates: &[Aggregate]) -> impl Iterator<Item = &FieldPath> {
    aggregates.iter().filter_map(|aggregate| match aggregate {
        Aggregate::Count { .. } => None,
        Aggregate::Sum(field) | Aggregate::Average(field) => Some(field),
    })
}

/// The numbers of one field.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sum {
    integers: u64,
    /// Cannot overflow: 2⁶⁴ integers of 64 bits need 127 bits and a sign.
    integer_total: i128,
    finite: u64,
    finite_total: Option<Box<Exact>>,
    nan: u64,
    above: u64,
    below: u64,
}

impl Sum {
    fn add(&mut self, value: &Value) {
        match value {
            Value::Integer(number) => {
                self.integers += 1;
                self.integer_total += i128::from(*number);
            }
            Value::Double(number) => {
                *self.doubles(*number) += 1;
                if number.is_finite() {
                    self.finite_total.get_or_insert_default().add(*number);
                }
            }
            _ => {}
        }
    }

    fn remove(&mut self, value: &Value) {
        match value {
            Value::Integer(number) => {
                self.integers = self.integers.saturating_sub(1);
                self.integer_total -= i128::from(*number);
            }
            Value::Double(number) => {
                let count = self.doubles(*number);
                *count = count.saturating_sub(1);
                if number.is_finite() {
                    self.finite_total.get_or_insert_default().add(-*number);
                }
            }
            _ => {}
        }
    }

    fn doubles(&mut self, number: f64) -> &mut u64 {
        match number {
            _ if number.is_nan() => &mut self.nan,
            f64::INFINITY => &mut self.above,
            f64::NEG_INFINITY => &mut self.below,
            _ => &mut self.finite,
        }
    }

    fn total(&self) -> Value {
        let only_integers = self.finite + self.nan + self.above + self.below == 0;
        match i64::try_from(self.integer_total) {
            Ok(total) if only_integers => Value::Integer(total),
            _ => Value::Double(self.rounded()),
        }
    }

    fn mean(&self) -> Value {
        match self.integers + self.finite + self.nan + self.above + self.below {
            0 => Value::Null,
            // The sum as it is answered: one that no double can hold has no finite mean.
            count => Value::Double(self.rounded() / count as f64),
        }
    }

    /// The sum of all numbers, rounded once.
    fn rounded(&self) -> f64 {
        match (self.nan, self.above, self.below) {
            (0, 0, 0) => {
                let mut exact = self.finite_total.as_deref().cloned().unwrap_or_default();
                exact.add_integer(self.integer_total);
                exact.rounded()
            }
            (0, _, 0) => f64::INFINITY,
            (0, 0, _) => f64::NEG_INFINITY,
            _ => f64::NAN,
        }
    }
}

/// A sum of doubles without rounding: a fixed-point number in two's complement.
///
/// Bit 0 weighs 2⁻¹¹³⁸, a limb below the smallest double; 2⁶⁴ of the largest doubles stay below the sign.
#[derive(Clone, Debug, PartialEq)]
struct Exact([u64; Exact::LIMBS]);

impl Default for Exact {
    fn default() -> Self {
        Self([0; Self::LIMBS])
    }
}

impl Exact {
    const LIMBS: usize = 36;
    /// The bit of the smallest double, 2⁻¹⁰⁷⁴.
    const SMALLEST: usize = 64;
    /// The bit that weighs one.
    const ONE: usize = Self::SMALLEST + 1_074;
    /// Bits of a double's fraction, without the leading one.
    const FRACTION: usize = 52;

    /// Adds a finite double.
    fn add(&mut self, number: f64) {
        let bits = number.to_bits();
        let exponent = (bits >> Self::FRACTION) as usize & 0x7ff;
        let fraction = bits & ((1 << Self::FRACTION) - 1);
        let mantissa = if exponent == 0 { fraction } else { fraction | (1 << Self::FRACTION) };
        self.add_shifted(u128::from(mantissa), Self::SMALLEST + exponent.max(1) - 1, number.is_sign_negative());
    }

    fn add_integer(&mut self, number: i128) {
        self.add_shifted(number.unsigned_abs(), Self::ONE, number < 0);
    }

    /// Adds or subtracts `number` · 2^`bit`, wrapping around.
    fn add_shifted(&mut self, number: u128, bit: usize, negative: bool) {
        let (first, shift) = (bit / 64, bit % 64);
        let low = number << shift;
        let high = if shift == 0 { 0 } else { (number >> (128 - shift)) as u64 };
        let parts = [low as u64, (low >> 64) as u64, high];
        let mut carry = false;
        for (index, limb) in self.0[first..].iter_mut().enumerate() {
            let part = parts.get(index).copied().unwrap_or(0);
            if index >= parts.len() && !carry {
                break;
            }
            let ((sum, over), extra) = if negative {
                (limb.overflowing_sub(part), u64::from(carry))
            } else {
                (limb.overflowing_add(part), u64::from(carry))
            };
            let (sum, again) = if negative { sum.overflowing_sub(extra) } else { sum.overflowing_add(extra) };
            *limb = sum;
            carry = over || again;
        }
    }

    /// This number, rounded to the nearest double, ties to even.
    fn rounded(&self) -> f64 {
        let mut limbs = self.0;
        let negative = limbs[Self::LIMBS - 1] >> 63 == 1;
        if negative {
            negate(&mut limbs);
        }
        let size = round(&limbs);
        if negative { -size } else { size }
    }
}

fn negate(limbs: &mut [u64]) {
    let mut carry = true;
    for limb in limbs {
        (*limb, carry) = (!*limb).overflowing_add(u64::from(carry));
    }
}

/// The double nearest to a fixed-point number.
fn round(limbs: &[u64; Exact::LIMBS]) -> f64 {
    let bit = |at: usize| limbs[at / 64] >> (at % 64) & 1 == 1;
    let Some(top) = (0..Exact::LIMBS).rev().find(|index| limbs[*index] != 0) else { return 0.0 };
    let high = top * 64 + 63 - limbs[top].leading_zeros() as usize;
    // The lowest bit that the double keeps; below 2⁻¹⁰⁷⁴ it keeps none.
    let low = high.saturating_sub(Exact::FRACTION).max(Exact::SMALLEST);
    let mantissa = (low..=high).rev().fold(0_u64, |mantissa, at| mantissa << 1 | u64::from(bit(at)));
    let half = bit(low - 1);
    let below_half = (0..low - 1).any(bit);
    let mantissa = mantissa + u64::from(half && (below_half || mantissa & 1 == 1));
    // The mantissa's leading one adds one to the exponent, and so does a carry out of rounding.
    let bits = (((low - Exact::SMALLEST) as u64) << Exact::FRACTION) + mantissa;
    if bits >= f64::INFINITY.to_bits() { f64::INFINITY } else { f64::from_bits(bits) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Map;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn aggregates() -> [Aggregate; 3] {
        let field = FieldPath::parse("n").unwrap();
        [Aggregate::Count { up_to: None }, Aggregate::Sum(field.clone()), Aggregate::Average(field)]
    }

    fn document(value: &Value) -> Map {
        Map::from([("n".into(), value.clone())])
    }

    fn tally(values: &[Value]) -> Tally {
        let mut tally = Tally::new(&aggregates());
        values.iter().for_each(|value| tally.add(&aggregates(), &document(value)).unwrap());
        tally
    }

    fn check(values: &[Value], want: Expect) {
        want.assert_eq(&format!("{:?}", tally(values).values(&aggregates())));
    }

    #[test]
    fn integers_stay_integers_until_a_double_takes_part_or_they_overflow() {
        use Value::{Double, Integer};
        check(&[], expect!["[Integer(0), Integer(0), Null]"]);
        check(&[Integer(1), Integer(2)], expect!["[Integer(2), Integer(3), Double(1.5)]"]);
        check(&[Integer(1), Double(2.0)], expect!["[Integer(2), Double(3.0), Double(1.5)]"]);
        check(
            &[Integer(i64::MAX), Integer(i64::MAX)],
            expect!["[Integer(2), Double(1.8446744073709552e19), Double(9.223372036854776e18)]"],
        );
        check(&[Value::text("9"), Value::Null, Integer(4)], expect!["[Integer(3), Integer(4), Double(4.0)]"]);
    }

    #[test]
    fn nan_and_infinities_dominate() {
        use Value::{Double, Integer};
        check(&[Integer(1), Double(f64::NAN)], expect!["[Integer(2), Double(NaN), Double(NaN)]"]);
        check(&[Integer(1), Double(f64::INFINITY)], expect!["[Integer(2), Double(inf), Double(inf)]"]);
        check(&[Double(f64::NEG_INFINITY), Double(f64::INFINITY)], expect!["[Integer(2), Double(NaN), Double(NaN)]"]);
    }

    #[test]
    fn only_the_sum_is_rounded() {
        use Value::Double;
        check(&[0.1; 10].map(Double), expect!["[Integer(10), Double(1.0), Double(0.1)]"]);
        check(&[1e308, 1e308, -1e308, 1.0, -1e308].map(Double), expect!["[Integer(5), Double(1.0), Double(0.2)]"]);
        check(&[f64::MAX, f64::MAX].map(Double), expect!["[Integer(2), Double(inf), Double(inf)]"]);
        check(&[f64::MIN, f64::MIN].map(Double), expect!["[Integer(2), Double(-inf), Double(-inf)]"]);
        check(&[5e-324, 0.0].map(Double), expect!["[Integer(2), Double(5e-324), Double(0.0)]"]);
        check(&[5e-324, 5e-324, 5e-324, 0.0].map(Double), expect!["[Integer(4), Double(1.5e-323), Double(5e-324)]"]);
    }

    // Source: the system tests of Google's clients for Go and Java.
    #[test]
    fn a_mean_is_the_rounded_sum_divided() {
        use Value::{Double, Integer};
        check(&[4.8, 5.9, 6.0, 7.1, 8.2].map(Double), expect!["[Integer(5), Double(32.0), Double(6.4)]"]);
        check(
            &[Double(8.6), Integer(9), Integer(10)],
            expect!["[Integer(3), Double(27.6), Double(9.200000000000001)]"],
        );
    }

    proptest! {
        #[test]
        fn what_is_taken_away_was_never_there(
            kept in prop::collection::vec(any::<f64>(), 0..6),
            gone in prop::collection::vec(any::<f64>(), 0..6),
        ) {
            let kept: Vec<Value> = kept.into_iter().map(Value::Double).collect();
            let gone: Vec<Value> = gone.into_iter().map(Value::Double).collect();
            let mut both = tally(&[gone.clone(), kept.clone()].concat());
            gone.iter().for_each(|value| both.remove(&aggregates(), &document(value)).unwrap());
            prop_assert_eq!(both.values(&aggregates()), tally(&kept).values(&aggregates()));
        }

        #[test]
        fn one_double_comes_back_as_it_was(number in any::<f64>()) {
            let mut exact = Exact::default();
            prop_assume!(number.is_finite());
            exact.add(number);
            prop_assert_eq!(exact.rounded(), number);
        }

        #[test]
        fn integers_round_as_the_processor_does(number in any::<i128>()) {
            let mut exact = Exact::default();
            exact.add_integer(number);
            prop_assert_eq!(exact.rounded(), number as f64);
        }
    }
}
