//! The future that every back end answers with: ready now, or boxed.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::StoreError;
use crate::panics::{Panicked, guard};

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// The answer of a [`KeyStore`](crate::store::KeyStore), [`CreditLedger`](crate::credit::CreditLedger) or
/// [`RateLimiter`](crate::limit::RateLimiter): ready now, at no cost, or one boxed future where there is real I/O.
///
/// A boxed future that panics answers an error for which [`StoreError::is_panic`] holds.
///
/// It is `'static`: a remote back end clones its pool and copies what it needs before it returns.
///
/// # Example
///
/// ```
/// use tollgate::StoreFuture;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// assert_eq!(StoreFuture::ready(7).await.unwrap(), 7);
/// assert_eq!(StoreFuture::boxed(async { Ok(7) }).await.unwrap(), 7);
/// # }
/// ```
#[must_use = "a store future does nothing unless it is awaited"]
pub struct StoreFuture<T>(Repr<T>);

enum Repr<T> {
    Ready(Option<Result<T, StoreError>>),
    Boxed(Boxed<T>),
}

impl<T> StoreFuture<T> {
    /// An answer that is known already.
    #[inline]
    pub fn ready(value: T) -> Self {
        Self(Repr::Ready(Some(Ok(value))))
    }

    /// A failure that is known already.
    pub fn failed(error: StoreError) -> Self {
        Self(Repr::Ready(Some(Err(error))))
    }

    /// An answer that takes I/O.
    pub fn boxed(future: impl Future<Output = Result<T, StoreError>> + Send + 'static) -> Self {
        Self(Repr::Boxed(Box::pin(future)))
    }

    /// The answer, where it is there without waiting.
    #[inline]
    pub(crate) fn take_ready(&mut self) -> Option<Result<T, StoreError>> {
        if let Repr::Ready(answer) = &mut self.0 { answer.take() } else { None }
    }

    /// What was asked for, where it is there without waiting.
    #[inline]
    pub(crate) fn answer_mut(&mut self) -> Option<&mut T> {
        if let Repr::Ready(Some(Ok(answer))) = &mut self.0 { Some(answer) } else { None }
    }

    /// Whether the answer is there without waiting.
    #[inline]
    pub fn is_ready(&self) -> bool {
        matches!(self.0, Repr::Ready(_))
    }
}

impl<T> From<Result<T, StoreError>> for StoreFuture<T> {
    #[inline]
    fn from(result: Result<T, StoreError>) -> Self {
        Self(Repr::Ready(Some(result)))
    }
}

impl<T> Unpin for StoreFuture<T> {}

impl<T> Future for StoreFuture<T> {
    type Output = Result<T, StoreError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            // Polling a finished future is the caller's fault; it waits for ever rather than panic in a request.
            Repr::Ready(result) => result.take().map_or(Poll::Pending, Poll::Ready),
            Repr::Boxed(future) => {
                guard("a back end", || future.as_mut().poll(cx)).unwrap_or_else(|Panicked| {
                    // It cannot be polled again.
                    self.0 = Repr::Ready(None);
                    Poll::Ready(Err(StoreError::panicked()))
                })
            }
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for StoreFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Ready(result) => f.debug_tuple("Ready").field(result).finish(),
            Repr::Boxed(_) => f.write_str("Boxed(..)"),
        }
    }
}
