//! The ledger: the oracle that pods write into and that shares no code with what it judges.
//!
//! A part that was prepared is kept and does not count; once committed it counts, and committing it again changes nothing.
//! A book is exact when its committed parts hold every number once and every key's counts without a gap or a repetition.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest part that is taken.
const LARGEST_PART: usize = 256 * 1024 * 1024;

#[derive(Default)]
struct Book {
    prepared: BTreeMap<String, Vec<u8>>,
    committed: BTreeMap<String, Vec<u8>>,
    lines: u64,
    generation: u64,
    commits: Vec<Instant>,
    complaints: Vec<String>,
}

/// What a book holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Numbers that are there.
    pub numbers: u64,
    /// The highest of them plus one.
    pub end: u64,
    /// Numbers below `end` that are not there.
    pub lost: u64,
    /// Those of them below the highest of their key, all of whose numbers come from one split in order: lost even if the job was stopped
    /// while it caught up, when its splits are not equally far.
    pub holes: u64,
    /// Numbers beyond their first time.
    pub doubled: u64,
    /// Counts of a key that are missing or repeated.
    pub miscounted: u64,
}

/// A server for books, reachable from pods.
pub struct Ledger {
    address: SocketAddr,
    books: Arc<Mutex<BTreeMap<String, Book>>>,
}

impl Ledger {
    /// Serves on a free port of this address until the process ends.
    pub fn serve(host: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind((host, 0))?;
        let ledger = Self { address: listener.local_addr()?, books: Arc::default() };
        let books = Arc::clone(&ledger.books);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let books = Arc::clone(&books);
                std::thread::spawn(move || answer(connection, &books));
            }
        });
        Ok(ledger)
    }

    /// host:port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Lines that count.
    pub fn lines(&self, book: &str) -> u64 {
        self.with(book, |book| book.lines)
    }

    /// The newest generation whose output counts; 0 if there is none.
    pub fn generation(&self, book: &str) -> u64 {
        self.with(book, |book| book.generation)
    }

    /// The longest time without a commit from `since` to the last commit; zero if there was none.
    pub fn longest_gap(&self, book: &str, since: Instant) -> Duration {
        self.with(book, |book| longest_gap(&book.commits, since))
    }

    /// Judges a book whose job spread its numbers over `keys` keys.
    ///
    /// # Panics
    /// When a line cannot be read, a number is at a wrong key, or a part came with two contents.
    pub fn judge(&self, book: &str, keys: u64) -> Verdict {
        self.with(book, |book| {
            assert!(book.complaints.is_empty(), "the ledger complains: {:?}", book.complaints);
            judge(book.committed.values().map(Vec::as_slice), keys)
        })
    }

    fn with<T>(&self, book: &str, look: impl FnOnce(&mut Book) -> T) -> T {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        look(books.entry(book.to_owned()).or_default())
    }
}

fn longest_gap(commits: &[Instant], since: Instant) -> Duration {
    let after: Vec<Instant> = commits.iter().copied().filter(|at| *at >= since).collect();
    let before = std::iter::once(since).chain(after.iter().copied());
    before.zip(&after).map(|(before, after)| *after - before).max().unwrap_or_default()
}

fn judge<'a>(parts: impl Iterator<Item = &'a [u8]>, keys: u64) -> Verdict {
    let mut numbers = BTreeSet::new();
    let mut counts: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let (mut doubled, mut miscounted) = (0, 0);
    for line in parts.flat_map(|part| part.split(|byte| *byte == b'\n')).filter(|line| !line.is_empty()) {
        let text = std::str::from_utf8(line).expect("lines are text");
        let fields: Vec<u64> = text.split(' ').map(|field| field.parse().expect("fields are numbers")).collect();
        let [id, key, nth] = fields[..] else { panic!("not a line of the ledger: {text}") };
        assert_eq!(id % keys, key, "number {id} is at a wrong key");
        doubled += u64::from(!numbers.insert(id));
        miscounted += u64::from(!counts.entry(key).or_default().insert(nth));
    }
    // Distinct counts of a key, from 1 without a gap: the highest is how many there are.
    for seen in counts.values() {
        miscounted += seen.last().map_or(0, |highest| highest.abs_diff(seen.len() as u64));
    }
    let end = numbers.last().map_or(0, |last| last + 1);
    // In ascending order, so that the last of a key is its highest.
    let highest: BTreeMap<u64, u64> = numbers.iter().map(|id| (id % keys, *id)).collect();
    let due: u64 = highest.values().map(|highest| highest / keys + 1).sum();
    let count = numbers.len() as u64;
    Verdict { numbers: count, end, lost: end - count, holes: due - count, doubled, miscounted }
}

fn answer(connection: TcpStream, books: &Mutex<BTreeMap<String, Book>>) {
    let Ok(mut output) = connection.try_clone() else { return };
    // A connection that breaks off is its other end's business: nothing of it counts.
    let Some((path, body)) = request(&mut BufReader::new(connection)) else { return };
    let status = if take(&path, body, books) { "200 OK" } else { "409 Conflict" };
    let _ = write!(output, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

fn request(input: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut line = String::new();
    input.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0_usize;
    loop {
        let mut header = String::new();
        if input.read_line(&mut header).ok()? == 0 {
            return None;
        }
        match header.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; (length <= LARGEST_PART).then_some(length)?];
    input.read_exact(&mut body).ok()?;
    Some((path, body))
}

fn take(path: &str, body: Vec<u8>, books: &Mutex<BTreeMap<String, Book>>) -> bool {
    let mut parts = path.trim_start_matches('/').splitn(3, '/');
    let (Some(action), Some(book), Some(name)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
    let book = books.entry(book.to_owned()).or_default();
    match action {
        "prepare" => {
            let known = book.prepared.get(name).or_else(|| book.committed.get(name));
            if known.is_some_and(|known| *known != body) {
                book.complaints.push(format!("{name} was prepared with two contents"));
                return false;
            }
            if known.is_none() {
                book.prepared.insert(name.to_owned(), body);
            }
            true
        }
        "commit" => match book.prepared.remove(name) {
            Some(part) => {
                book.lines += part.iter().filter(|byte| **byte == b'\n').count() as u64;
                book.generation = book.generation.max(generation(name));
                book.commits.push(Instant::now());
                book.committed.insert(name.to_owned(), part);
                true
            }
            None if book.committed.contains_key(name) => true,
            None => {
                book.complaints.push(format!("{name} was committed and never prepared"));
                false
            }
        },
        _ => false,
    }
}

/// The generation that wrote a part: `<job>-g<generation>-<subtask>-<number>`.
fn generation(name: &str) -> u64 {
    name.rsplit('-').nth(2).and_then(|field| field.strip_prefix('g')).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The oracle notices what it is there for.
///
/// # Panics
/// When it does not.
pub fn check_the_oracle() {
    assert_eq!(generation("0b5d-17-g12-0-3"), 12);
    let exact = Verdict { numbers: 4, end: 4, lost: 0, holes: 0, doubled: 0, miscounted: 0 };
    let judged = |text: &str| judge(std::iter::once(text.as_bytes()), 2);
    assert_eq!(judged("0 0 1\n1 1 1\n2 0 2\n3 1 2\n"), exact);
    assert_eq!(judged("0 0 1\n1 1 1\n3 1 2\n"), Verdict { numbers: 3, lost: 1, ..exact.clone() });
    assert_eq!(judged("1 1 1\n2 0 1\n3 1 2\n"), Verdict { numbers: 3, lost: 1, holes: 1, ..exact.clone() });
    assert_eq!(judged("0 0 1\n1 1 1\n2 0 2\n3 1 2\n3 1 3\n"), Verdict { doubled: 1, ..exact.clone() });
    assert_eq!(judged("0 0 1\n1 1 1\n2 0 1\n3 1 2\n"), Verdict { miscounted: 1, ..exact.clone() });
    assert_eq!(judged("0 0 1\n1 1 1\n2 0 3\n3 1 2\n"), Verdict { miscounted: 1, ..exact });
    let start = Instant::now();
    let commits = [0, 9, 10, 13, 15].map(|second| start + Duration::from_secs(second));
    assert_eq!(longest_gap(&commits, start + Duration::from_secs(9)), Duration::from_secs(3));
    assert_eq!(longest_gap(&commits, start + Duration::from_secs(5)), Duration::from_secs(4));
    assert_eq!(longest_gap(&commits, start + Duration::from_secs(16)), Duration::ZERO);
}
