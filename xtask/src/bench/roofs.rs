//! What the machine itself can do, measured in the same run: no server gets beyond it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::work::{Figure, GB, figure};
use crate::load::process;
use crate::load::protocol::crc32c;
use crate::workspace::Outcome;

const TRANSFERRED: usize = 2 << 30;
const BLOCK_BYTES: usize = 128 << 10;
const BATCH_BYTES: usize = 16 << 10;
const ROUND_TRIPS: u32 = 20_000;

/// Measures all roofs; files have `bytes`.
pub fn roofs(bytes: usize) -> Outcome<Vec<Figure>> {
    let folder = tempfile::Builder::new().prefix("ottla-bench-").tempdir()?;
    let mut figures = loopback()?;
    let path = folder.path().join("file");
    // Once without looking, so that memory which the machine never touched is not what is measured.
    write(&path, bytes)?;
    let cached = write(&path, bytes)?;
    figures.push(figure(
        "page-cache write in blocks of 128 KiB, GB/s",
        bytes as f64 / GB / cached.as_secs_f64(),
    ));
    let begin = Instant::now();
    write(&path, bytes)?;
    File::open(&path)?.sync_data()?;
    figures.push(figure(
        "disk write with a sync at the end, GB/s",
        bytes as f64 / GB / begin.elapsed().as_secs_f64(),
    ));
    let warm = scan(&path)?;
    figures.push(figure(
        "scan in batches of 16 KiB with CRC, warm, GB/s",
        bytes as f64 / GB / warm.as_secs_f64(),
    ));
    match process::drop_caches() {
        Ok(()) => {
            let cold = scan(&path)?;
            let name = "scan in batches of 16 KiB with CRC, cold, GB/s";
            figures.push(figure(name, bytes as f64 / GB / cold.as_secs_f64()));
        }
        Err(error) => eprintln!("note: cold reading is not measured: {error}"),
    }
    let batch = vec![7u8; BATCH_BYTES];
    let begin = Instant::now();
    let rounds = (1 << 30) / BATCH_BYTES;
    let sum = (0..rounds).fold(0, |sum: u32, _| sum ^ crc32c(std::hint::black_box(&batch)));
    std::hint::black_box(sum);
    figures.push(figure(
        "CRC-32C of 16 KiB, GB/s",
        (rounds * BATCH_BYTES) as f64 / GB / begin.elapsed().as_secs_f64(),
    ));
    Ok(figures)
}

fn loopback() -> Outcome<Vec<Figure>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let cpu = process::cpu_seconds(std::process::id())?;
    let begin = Instant::now();
    let writer = std::thread::spawn(move || {
        let block = vec![1u8; 1 << 20];
        let sent: std::io::Result<()> = (0..TRANSFERRED >> 20).try_for_each(|_| far.write_all(&block));
        sent.map(|()| far)
    });
    let mut block = vec![0; 1 << 20];
    let mut left = TRANSFERRED;
    while left > 0 {
        left -= match near.read(&mut block)? {
            0 => return Err("the loopback ended early".into()),
            read => read,
        };
    }
    let seconds = begin.elapsed().as_secs_f64();
    let cpu = process::cpu_seconds(std::process::id())? - cpu;
    let mut far = writer.join().map_err(|_| "the writer panicked")??;
    let echo = std::thread::spawn(move || {
        let mut small = [0; 100];
        (0..ROUND_TRIPS).try_for_each(|_| far.read_exact(&mut small).and_then(|()| far.write_all(&small)))
    });
    let begin = Instant::now();
    let mut small = [0; 100];
    for _ in 0..ROUND_TRIPS {
        near.write_all(&small)?;
        near.read_exact(&mut small)?;
    }
    let round_trip = begin.elapsed() / ROUND_TRIPS;
    echo.join().map_err(|_| "the echo panicked")??;
    Ok(vec![
        figure("loopback copy in blocks of 1 MiB, GB/s", TRANSFERRED as f64 / GB / seconds),
        figure("loopback copy, CPU-s/GB of both ends", cpu / (TRANSFERRED as f64 / GB)),
        figure("loopback round trip of 100 B, µs", round_trip.as_secs_f64() * 1e6),
    ])
}

fn write(path: &Path, bytes: usize) -> Outcome<Duration> {
    let block = vec![1u8; BLOCK_BYTES];
    let mut file = File::create(path)?;
    let begin = Instant::now();
    for _ in 0..bytes / BLOCK_BYTES {
        file.write_all(&block)?;
    }
    Ok(begin.elapsed())
}

fn scan(path: &Path) -> Outcome<Duration> {
    let mut file = File::open(path)?;
    let mut block = vec![0; 1 << 20];
    let begin = Instant::now();
    let mut sum = 0;
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            break;
        }
        sum = block[..read].chunks(BATCH_BYTES).fold(sum, |sum, batch| sum ^ crc32c(batch));
    }
    std::hint::black_box(sum);
    Ok(begin.elapsed())
}
