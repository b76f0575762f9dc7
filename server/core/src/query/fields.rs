//! What a query needs to know of a document: single fields, so that the rest need not be decoded.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;

use crate::codec::{DecodeError, Encoded};
use crate::document::Document;
use crate::field::FieldPath;
use crate::path::DocPath;
use crate::value::{Map, Value, lookup};
use crate::version::Version;

/// Fields that can be looked up one by one.
pub trait Fields {
    /// Why a look-up can fail: a stored form may be damaged, which is an error and never a missing field.
    type Error;

    /// The value at a path, if there is one.
    fn get(&self, path: &FieldPath) -> Result<Option<Cow<'_, Value>>, Self::Error>;
}

/// A document that may belong to a result.
pub trait Candidate: Fields {
    /// Where it stands.
    fn path(&self) -> &DocPath;
    /// The commit that last changed it.
    fn updated(&self) -> Version;
}

impl Fields for Map {
    type Error = Infallible;

    fn get(&self, path: &FieldPath) -> Result<Option<Cow<'_, Value>>, Infallible> {
        Ok(lookup(self, path).map(Cow::Borrowed))
    }
}

impl Fields for Document {
    type Error = Infallible;

    fn get(&self, path: &FieldPath) -> Result<Option<Cow<'_, Value>>, Infallible> {
        Fields::get(&self.fields, path)
    }
}

impl Candidate for Document {
    fn path(&self) -> &DocPath {
        &self.path
    }

    fn updated(&self) -> Version {
        self.updated
    }
}

impl Fields for Encoded<'_> {
    type Error = DecodeError;

    fn get(&self, path: &FieldPath) -> Result<Option<Cow<'_, Value>>, DecodeError> {
        Ok(Encoded::get(self, path)?.map(Cow::Owned))
    }
}

impl<F: Fields + ?Sized> Fields for &F {
    type Error = F::Error;

    fn get(&self, path: &FieldPath) -> Result<Option<Cow<'_, Value>>, F::Error> {
        (**self).get(path)
    }
}

impl<F: Fields + ?Sized> Fields for Arc<F> {
    type Error = F::Error;

    fn get(&self, path: &FieldPath) -> Result<Option<Cow<'_, Value>>, F::Error> {
        (**self).get(path)
    }
}

impl<C: Candidate + ?Sized> Candidate for &C {
    fn path(&self) -> &DocPath {
        (**self).path()
    }

    fn updated(&self) -> Version {
        (**self).updated()
    }
}

impl<C: Candidate + ?Sized> Candidate for Arc<C> {
    fn path(&self) -> &DocPath {
        (**self).path()
    }

    fn updated(&self) -> Version {
        (**self).updated()
    }
}
