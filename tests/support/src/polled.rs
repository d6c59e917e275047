//! Futures that are given up in the middle.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Polls a future a number of times and then gives it up.
struct Polls<F> {
    future: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> Future for Polls<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        match self.future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Runs a future for at most `left` polls; `None` when it was given up after them. With none it is never polled.
pub async fn polled<F: Future>(left: usize, future: F) -> Option<F::Output> {
    Polls {
        future: Box::pin(future),
        left,
    }
    .await
}
