//! Turns: those who are in are not kept waiting by those who come.
//!
//! Attack: handshakes as fast as they are answered (CWE-770). A task that is ready waits for all that were ready before it,
//! and a handshake is as much work as twenty messages: with a hundred under way, each message would wait for a hundred
//! handshakes. So only a few are worked on in a row; the next ones have their turn behind everything that is ready then.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Handshakes that each worker does some work on, before everything else that is ready has had its turn. 4: a message waits
/// for a fraction of a millisecond, and a flood of handshakes alone is served as quickly as ever.
const IN_A_ROW_MAX: u32 = 4;

/// Who of those that come is worked on next.
#[derive(Debug)]
pub(crate) struct Turns {
    row: u32,
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    /// Turns that are free in this row.
    free: u32,
    /// First come, first served; as many as there are connections before their upgrade.
    waiting: VecDeque<Waker>,
    /// The number of the first of them; those before it have been called.
    first: u64,
}

impl Turns {
    /// For a server with so many workers.
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        let row = IN_A_ROW_MAX.saturating_mul(u32::try_from(workers).unwrap_or(u32::MAX).max(1));
        Arc::new(Self { row, line: Mutex::new(Line { free: row, waiting: VecDeque::new(), first: 0 }) })
    }

    /// Does `work` in turns with whatever else there is to do.
    pub(crate) async fn take<F: Future>(self: &Arc<Self>, work: F) -> F::Output {
        let mut work = pin!(work);
        let mut number = None;
        poll_fn(|cx| if self.has_come(&mut number, cx) { work.as_mut().poll(cx) } else { Poll::Pending }).await
    }

    /// Whether it is the turn of whoever waits with this `number`, or has none yet.
    fn has_come(self: &Arc<Self>, number: &mut Option<u64>, cx: &Context<'_>) -> bool {
        let mut line = self.line();
        let Line { free, waiting, first } = &mut *line;
        if let Some(waits) = *number {
            let Some(place) = waits.checked_sub(*first) else {
                *number = None;
                return true;
            };
            // Woken by something else, such as its socket: it goes on waiting.
            let slot = usize::try_from(place).ok().and_then(|place| waiting.get_mut(place));
            if let Some(waker) = slot.filter(|waker| !waker.will_wake(cx.waker())) {
                waker.clone_from(cx.waker());
            }
            return false;
        }
        if *free == 0 {
            *number = Some(first.saturating_add(waiting.len() as u64));
            waiting.push_back(cx.waker().clone());
            return false;
        }
        *free = free.saturating_sub(1);
        let is_last = *free == 0;
        drop(line);
        if is_last {
            tokio::spawn(Arc::clone(self).call());
        }
        true
    }

    /// Calls the next ones whenever everything that was ready has had its turn, until nobody waits.
    async fn call(self: Arc<Self>) {
        loop {
            behind_what_is_ready().await;
            let mut line = self.line();
            if line.waiting.is_empty() {
                line.free = self.row;
                return;
            }
            let count = line.waiting.len().min(self.row as usize);
            let called: Vec<Waker> = line.waiting.drain(..count).collect();
            line.first = line.first.saturating_add(count as u64);
            drop(line);
            called.into_iter().for_each(Waker::wake);
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for all tasks that are ready. (`yield_now` waits for the sockets as well, however long these have nothing.)
async fn behind_what_is_ready() {
    let mut woken = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut woken, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_one_thread(work: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work);
    }

    /// Most of `h` before one of `m`.
    fn most_between(log: &str) -> usize {
        let (log, _) = log.rsplit_once('m').unwrap();
        log.split('m').map(str::len).max().unwrap()
    }

    #[test]
    fn a_message_waits_for_a_few_handshakes_and_each_handshake_is_worked_on_in_its_order() {
        on_one_thread(async {
            let (turns, log) = (Turns::new(1), Arc::new(Mutex::new(Vec::new())));
            let handshakes: Vec<_> = (0..500)
                .map(|number| {
                    let (turns, log) = (Arc::clone(&turns), Arc::clone(&log));
                    tokio::spawn(async move {
                        let work = async {
                            for _ in 0..3 {
                                log.lock().unwrap().push(Some(number));
                                behind_what_is_ready().await;
                            }
                        };
                        turns.take(work).await;
                    })
                })
                .collect();
            let message_log = Arc::clone(&log);
            let messages = tokio::spawn(async move {
                for _ in 0..300 {
                    message_log.lock().unwrap().push(None);
                    behind_what_is_ready().await;
                }
            });
            messages.await.unwrap();
            let text: String = log.lock().unwrap().iter().map(|what| if what.is_some() { 'h' } else { 'm' }).collect();
            // Between two messages the row ends and the next one is called, once.
            let most = most_between(&text);
            assert!((1..=2 * IN_A_ROW_MAX as usize).contains(&most), "{most} between two messages");
            for handshake in handshakes {
                handshake.await.unwrap();
            }
            let log = log.lock().unwrap();
            let firsts: Vec<i32> = log.iter().flatten().copied().fold(Vec::new(), |mut firsts, number| {
                if !firsts.contains(&number) {
                    firsts.push(number);
                }
                firsts
            });
            assert_eq!(firsts, (0..500).collect::<Vec<_>>());
            assert_eq!(log.iter().flatten().count(), 1_500, "each was worked on three times");
        });
    }

    #[test]
    fn whoever_gives_up_holds_nobody_up() {
        on_one_thread(async {
            for given_up in 0..12 {
                let turns = Turns::new(1);
                let all: Vec<_> = (0..12)
                    .map(|_| {
                        let turns = Arc::clone(&turns);
                        tokio::spawn(async move { turns.take(behind_what_is_ready()).await })
                    })
                    .collect();
                behind_what_is_ready().await;
                all[given_up].abort();
                for (number, one) in all.into_iter().enumerate() {
                    assert!(one.await.is_ok() || number == given_up);
                }
                behind_what_is_ready().await;
                behind_what_is_ready().await;
                let line = turns.line();
                assert_eq!((line.free, line.waiting.len()), (IN_A_ROW_MAX, 0), "everybody has left");
            }
        });
    }

    #[test]
    fn on_several_threads_all_come_to_their_end() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
        runtime.block_on(async {
            let turns = Turns::new(4);
            let all: Vec<_> = (0..5_000)
                .map(|_| {
                    let turns = Arc::clone(&turns);
                    tokio::spawn(async move {
                        let work = async {
                            for _ in 0..5 {
                                behind_what_is_ready().await;
                            }
                        };
                        turns.take(work).await;
                    })
                })
                .collect();
            for one in all {
                one.await.unwrap();
            }
        });
    }
}
