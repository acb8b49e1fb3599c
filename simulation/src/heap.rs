//! How much memory the guard holds, and nobody else.
//!
//! A world is one thread, and jemalloc counts what each thread allocated and freed. What clients, the network and the trace
//! do is done inside [`outside`], so that the rest is the server: the guard, its driver, hyper and their tasks.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

thread_local! {
    static COUNTERS: Option<(ThreadLocal<u64>, ThreadLocal<u64>)> =
        allocatedp::read().ok().zip(deallocatedp::read().ok());
    static OUTSIDE: Cell<i64> = const { Cell::new(0) };
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

fn held() -> i64 {
    COUNTERS.with(|counters| {
        let (allocated, freed) = counters.as_ref().expect("jemalloc is built with its counters");
        allocated.get().wrapping_sub(freed.get()).cast_signed()
    })
}

/// Does something that is not the server's; what it allocates and frees does not count.
pub fn outside<T>(act: impl FnOnce() -> T) -> T {
    if DEPTH.get() > 0 {
        return act();
    }
    DEPTH.set(1);
    let before = held();
    let done = act();
    OUTSIDE.set(OUTSIDE.get() + held() - before);
    DEPTH.set(0);
    done
}

/// Does something that is the server's after all, in the middle of what is not.
pub fn inside<T>(act: impl FnOnce() -> T) -> T {
    if DEPTH.get() == 0 {
        return act();
    }
    DEPTH.set(0);
    let before = held();
    let done = act();
    OUTSIDE.set(OUTSIDE.get() - (held() - before));
    DEPTH.set(1);
    done
}

/// Bytes that this thread's server holds.
pub fn of_server() -> i64 {
    held() - OUTSIDE.get()
}

/// A future that is not the server's.
pub struct Outside<F>(Pin<Box<F>>);

impl<F: Future> Outside<F> {
    /// Wraps `future`.
    pub fn new(future: F) -> Self {
        Self(outside(|| Box::pin(future)))
    }
}

impl<F: Future> Future for Outside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        outside(|| self.0.as_mut().poll(cx))
    }
}
