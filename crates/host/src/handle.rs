//! The handle that everything takes its world from: clock, entropy, disk, tasks.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ottla_base::{Moment, Timestamp, Uuid};
use parking_lot::Mutex;

use crate::clock::{Elapsed, RealClock, SimulatedClock};
use crate::disk::Disk;
use crate::disk::simulated::SimulatedDisk;
use crate::entropy::{Prng, fill_from_kernel};
use crate::pool::{self, IDLE_LIMIT, Pool};

#[cfg(test)]
mod tests;

/// One computer, real or simulated. Cheap to clone; passed explicitly to whatever needs time, entropy,
/// disk or tasks.
#[derive(Clone)]
pub struct Host {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Real(Arc<Real>),
    Simulated(Arc<Simulation>),
}

struct Real {
    clock: RealClock,
    blocking: Pool,
    reading: Pool,
    background: Pool,
}

/// What a test may do to a simulated host.
pub struct Simulation {
    clock: Arc<SimulatedClock>,
    entropy: Mutex<Prng>,
    disk: SimulatedDisk,
}

impl Host {
    /// The computer this process runs on, with a pool of a few threads for what blocks.
    pub fn real() -> Host {
        let cores = std::thread::available_parallelism().map_or(1, |it| it.get());
        Host::real_with_pool((cores * 2).clamp(4, 16))
    }

    /// The computer this process runs on, with at most `pool_threads` threads for what blocks, as many for what readers
    /// wait for, and as many for what goes on in the background.
    pub fn real_with_pool(pool_threads: usize) -> Host {
        let pool = |kind| Pool::new(pool_threads, IDLE_LIMIT, kind);
        let real = Real {
            clock: RealClock::new(),
            blocking: pool(pool::Kind::Blocking),
            reading: pool(pool::Kind::Reading),
            background: pool(pool::Kind::Background),
        };
        Host { kind: Kind::Real(Arc::new(real)) }
    }

    /// A computer in memory. Driven the same way from the same seed, it does the same things.
    pub fn simulated(seed: u64) -> Host {
        let mut seeds = Prng::new(seed);
        let clock = Arc::new(SimulatedClock::new());
        let entropy = Mutex::new(Prng::new(seeds.next_u64()));
        let disk = SimulatedDisk::new(seeds.next_u64(), clock.clone());
        Host { kind: Kind::Simulated(Arc::new(Simulation { clock, entropy, disk })) }
    }

    /// The simulation behind a simulated host.
    pub fn simulation(&self) -> Option<&Simulation> {
        match &self.kind {
            Kind::Real(_) => None,
            Kind::Simulated(simulation) => Some(simulation),
        }
    }

    /// The monotonic clock.
    pub fn now(&self) -> Moment {
        match &self.kind {
            Kind::Real(real) => real.clock.now(),
            Kind::Simulated(simulation) => simulation.clock.now(),
        }
    }

    /// The wall clock, in milliseconds since 1970.
    pub fn wall_clock(&self) -> Timestamp {
        match &self.kind {
            Kind::Real(real) => real.clock.wall_clock(),
            Kind::Simulated(simulation) => simulation.clock.wall_clock(),
        }
    }

    /// Waits for `duration`. Needs a tokio runtime; on a simulated host one with paused time.
    #[expect(clippy::disallowed_methods, reason = "this is what the ban names as its replacement")]
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Waits until the clock shows `moment`. Needs a tokio runtime.
    pub async fn sleep_until(&self, moment: Moment) {
        loop {
            let remaining = moment.since(self.now());
            if remaining.is_zero() {
                return;
            }
            self.sleep(remaining).await;
        }
    }

    /// Waits for `future`, but no longer than `duration`.
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Result<F::Output, Elapsed> {
        tokio::time::timeout(duration, future).await.map_err(|_| Elapsed)
    }

    /// Waits for `future`, but not past `moment`.
    pub async fn timeout_at<F: Future>(&self, moment: Moment, future: F) -> Result<F::Output, Elapsed> {
        self.timeout(moment.since(self.now()), future).await
    }

    /// Fills `buffer` with random bytes, fit for secrets on a real host.
    pub fn random_bytes(&self, buffer: &mut [u8]) {
        match &self.kind {
            Kind::Real(_) => fill_from_kernel(buffer),
            Kind::Simulated(simulation) => simulation.entropy.lock().fill(buffer),
        }
    }

    /// 64 random bits.
    pub fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.random_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A random id as Kafka draws them: not reserved, and its text does not begin with a dash, which a
    /// command line would take for an option.
    pub fn random_uuid(&self) -> Uuid {
        loop {
            let mut bytes = [0; 16];
            self.random_bytes(&mut bytes);
            let uuid = Uuid::from_random(bytes);
            if !uuid.is_reserved() && !uuid.to_string().starts_with('-') {
                return uuid;
            }
        }
    }

    /// The disk.
    pub fn disk(&self) -> Disk {
        match &self.kind {
            Kind::Real(_) => Disk::real(),
            Kind::Simulated(simulation) => Disk::simulated(simulation.disk.clone()),
        }
    }

    /// Runs what may block on one of a few threads, and gives its result. It runs to its end even if the
    /// returned future is dropped, and starts before that is polled. A simulated host runs it at once. The work may
    /// start tasks if its caller could.
    pub fn blocking<T, F>(&self, work: F) -> impl Future<Output = T> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.run_on(|real| &real.blocking, work)
    }

    /// As [`Host::blocking`], for what a reader wants from the disk: who waits for a sync does not queue behind it.
    pub fn reading<T, F>(&self, work: F) -> impl Future<Output = T> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.run_on(|real| &real.reading, work)
    }

    /// As [`Host::blocking`], for long work that nobody waits for: its threads yield to all others. It should not hold
    /// for long what others wait for.
    pub fn background<T, F>(&self, work: F) -> impl Future<Output = T> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.run_on(|real| &real.background, work)
    }

    fn run_on<T, F>(&self, pool: fn(&Real) -> &Pool, work: F) -> impl Future<Output = T> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // What is run may start tasks as its caller may.
        let runtime = tokio::runtime::Handle::try_current().ok();
        let job = move || {
            let _entered = runtime.as_ref().map(|it| it.enter());
            let _ = sender.send(work());
        };
        match &self.kind {
            Kind::Real(real) => pool(real).run(Box::new(job)),
            Kind::Simulated(_) => job(),
        }
        async move { receiver.await.expect("what was run on a pool panicked") }
    }

    /// Starts a task. Needs a tokio runtime.
    pub fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(future)
    }
}

impl Simulation {
    /// Moves the clock. For tests without a runtime: a sleeping task is not woken by it.
    pub fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
    }

    /// The disk, to crash it and to make it fail.
    pub fn disk(&self) -> &SimulatedDisk {
        &self.disk
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.kind {
            Kind::Real(_) => "Host(real)",
            Kind::Simulated(_) => "Host(simulated)",
        })
    }
}
