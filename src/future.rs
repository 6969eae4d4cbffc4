//! The future that back ends return: ready at once, or boxed.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::StoreError;
use crate::panics::{Panicked, guard};

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// The future returned by a [`KeyStore`](crate::store::KeyStore), [`CreditLedger`](crate::credit::CreditLedger) or
/// [`RateLimiter`](crate::limit::RateLimiter). It is either ready at once, without an allocation, or one boxed future
/// for real I/O.
///
/// A boxed future that panics returns an error for which [`StoreError::is_panic`] is true.
///
/// The future is `'static`: a remote back end clones its pool and copies its arguments before it returns.
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
    /// Creates a future that is ready with this value.
    #[inline]
    pub fn ready(value: T) -> Self {
        Self(Repr::Ready(Some(Ok(value))))
    }

    /// Creates a future that is ready with this error.
    pub fn failed(error: StoreError) -> Self {
        Self(Repr::Ready(Some(Err(error))))
    }

    /// Creates a future that performs I/O.
    pub fn boxed(future: impl Future<Output = Result<T, StoreError>> + Send + 'static) -> Self {
        Self(Repr::Boxed(Box::pin(future)))
    }

    /// Takes the result if the future is ready.
    #[inline]
    pub(crate) fn take_ready(&mut self) -> Option<Result<T, StoreError>> {
        if let Repr::Ready(answer) = &mut self.0 { answer.take() } else { None }
    }

    /// Returns the value if the future is ready and has succeeded.
    #[inline]
    pub(crate) fn answer_mut(&mut self) -> Option<&mut T> {
        if let Repr::Ready(Some(Ok(answer))) = &mut self.0 { Some(answer) } else { None }
    }

    /// Returns true if the future is ready.
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
            // Polling a finished future is an error of the caller. It stays pending instead of panicking in a request.
            Repr::Ready(result) => result.take().map_or(Poll::Pending, Poll::Ready),
            Repr::Boxed(future) => {
                guard("a back end", || future.as_mut().poll(cx)).unwrap_or_else(|Panicked| {
                    // A future that has panicked must not be polled again.
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
