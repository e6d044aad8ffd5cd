//! Where a value stands in its file.

use std::ops::Deref;

/// A range of characters on one line of a scenario file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Line, counted from 1; 0 when the value has no place in a file (a default).
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// Length in characters on that line, at least 1 for values that come from a file.
    pub length: usize,
}

/// A value with the place it was read from. Two values are equal when their contents are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spanned<T> {
    /// The value itself.
    pub value: T,
    /// Where it was written.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value with its place.
    pub const fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }

    /// A value that stands in no file: a default, or one made in Rust.
    pub fn bare(value: T) -> Self {
        Self { value, span: Span::default() }
    }

    /// The same place, another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: change(self.value), span: self.span }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Spanned<T> {}
