//! A process under the rig's guard: its output in files, signals by name, and its end with the test.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::privacy::coordinate_in;
use super::wait::{wait_for, wait_until};
use super::watchdog::Watchdog;

/// How much of a log a failure shows.
const TAIL_LINES: usize = 30;

/// A running program. Dropping it kills it.
pub struct Guarded {
    name: String,
    child: Child,
    pid_file: PathBuf,
    folder: PathBuf,
    ended: Option<ExitStatus>,
}

impl Guarded {
    /// Starts the program with its output in fresh files and nothing on its input.
    pub fn start(name: &str, program: &Path, prepare: impl FnOnce(&mut Command)) -> Self {
        Self::start_under(Watchdog::shared(), name, program, prepare)
    }

    /// As [`Guarded::start`], under another watchdog.
    pub fn start_under(watchdog: &Watchdog, name: &str, program: &Path, prepare: impl FnOnce(&mut Command)) -> Self {
        let folder = watchdog.fresh_folder(name);
        let (mut command, pid_file) = watchdog.command(program);
        command
            .stdin(Stdio::null())
            .stdout(File::create(folder.join("stdout")).expect("create the output file"))
            .stderr(File::create(folder.join("stderr")).expect("create the log file"));
        prepare(&mut command);
        let child = command.spawn().unwrap_or_else(|fault| panic!("start {name}: {fault}"));
        Self { name: name.to_owned(), child, pid_file, folder, ended: None }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its input, where the preparation made it a pipe; once.
    pub fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// What it has written to its output so far.
    pub fn stdout(&self) -> Vec<u8> {
        self.stdout_from(0)
    }

    /// As [`Guarded::stdout`], without so many bytes at its beginning.
    pub fn stdout_from(&self, at: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = File::open(self.folder.join("stdout"))
            .and_then(|mut file| file.seek(SeekFrom::Start(at)).and_then(|_| file.read_to_end(&mut bytes)));
        read.unwrap_or_else(|fault| panic!("read the output of {}: {fault}", self.name));
        bytes
    }

    /// What it has written to its log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.join("stderr")).unwrap_or_default()).into_owned()
    }

    /// Output and log, shortened to their last lines, for a failure's message.
    pub fn tail(&self) -> String {
        // As far as they are there: a watchdog that ends the process takes its folder along.
        let stdout = std::fs::read(self.folder.join("stdout")).unwrap_or_default();
        let text = format!("{}\n{}", String::from_utf8_lossy(&stdout), self.log());
        let lines: Vec<&str> = text.lines().collect();
        let shown = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("the last lines of {}:\n{}", self.name, shown.join("\n"))
    }

    /// How it ended; none while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("ask for the process's status");
            if self.ended.is_some() {
                // Its number is free from here on and may become somebody else's.
                let _ = std::fs::remove_file(&self.pid_file);
            }
        }
        self.ended
    }

    /// Sends SIGTERM: please end.
    pub fn term(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGHUP: please read your configuration anew.
    pub fn hang_up(&mut self) {
        self.signal(Signal::HUP);
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
            let _ = std::fs::remove_file(&self.pid_file);
        }
    }

    /// Sends SIGSTOP: it holds its connections and answers nothing.
    pub fn freeze(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Sends SIGCONT after [`Guarded::freeze`].
    pub fn thaw(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait_ended(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("{} to end", self.name);
        wait_for(deadline, &what, || self.ended().ok_or_else(|| self.tail()))
    }

    /// Waits until the log or the output has the words.
    #[track_caller]
    pub fn wait_said(&mut self, deadline: Duration, words: &str) {
        let what = format!("{} to say {words:?}", self.name);
        wait_for(deadline, &what, || {
            let said = self.log().contains(words) || String::from_utf8_lossy(&self.stdout()).contains(words);
            if said { Ok(()) } else { Err(self.tail()) }
        });
    }

    fn signal(&mut self, signal: Signal) {
        // A process that ended keeps its number until we ask for its status, so the signal reaches nobody else.
        if self.ended().is_none() {
            let sent = kill_process(Pid::from_child(&self.child), signal);
            sent.unwrap_or_else(|fault| panic!("send {signal:?} to {}: {fault}", self.name));
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a process with that number runs; a dead one that nobody has asked for yet does not count.
pub fn is_running(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The state follows the name, which stands in parentheses and may hold anything.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

/// Our own program, as built for this test run.
pub struct Lonewatch(Guarded);

impl Lonewatch {
    /// Starts `lonewatch ARGUMENTS` with these environment variables besides those of the tests.
    pub fn start<'env>(arguments: &[impl AsRef<OsStr>], environment: impl IntoIterator<Item = (&'env str, &'env str)>) -> Self {
        Self(Guarded::start("lonewatch", Path::new(env!("CARGO_BIN_EXE_lonewatch")), |command| {
            command.args(arguments).envs(environment);
        }))
    }

    /// Runs `lonewatch ARGUMENTS` to its end, and gives its status, output and log.
    #[track_caller]
    pub fn run<'env>(
        deadline: Duration,
        arguments: &[impl AsRef<OsStr>],
        environment: impl IntoIterator<Item = (&'env str, &'env str)>,
    ) -> (ExitStatus, String, String) {
        let mut running = Self::start(arguments, environment);
        let status = running.wait_ended(deadline);
        (status, String::from_utf8_lossy(&running.stdout()).into_owned(), running.log())
    }

    /// Asks it to end, as Kubernetes does, and waits until it has.
    #[track_caller]
    pub fn stop(&mut self, deadline: Duration) -> ExitStatus {
        self.0.term();
        self.0.wait_ended(deadline)
    }
}

impl Drop for Lonewatch {
    /// No log of ours may say where somebody is, whatever the test was about. A test that fails already has its own story to tell.
    fn drop(&mut self) {
        self.0.kill();
        if !std::thread::panicking() {
            assert_eq!(coordinate_in(&self.0.log()), None, "a log holds a coordinate");
        }
    }
}

impl std::ops::Deref for Lonewatch {
    type Target = Guarded;

    fn deref(&self) -> &Guarded {
        &self.0
    }
}

impl std::ops::DerefMut for Lonewatch {
    fn deref_mut(&mut self) -> &mut Guarded {
        &mut self.0
    }
}

/// Runs a short program to its end with bytes on its input, and gives its output. `input` goes by a file: no pipe can fill up.
#[track_caller]
pub fn run_tool(program: &str, arguments: &[&str], input: &[u8], deadline: Duration) -> Vec<u8> {
    let (status, output, tail) = try_tool(program, arguments, input, deadline);
    assert!(status.success(), "{program} {arguments:?} ended with {status}; {tail}");
    output
}

/// As [`run_tool`], however it ends: its status, its output, and its last words.
#[track_caller]
pub fn try_tool(program: &str, arguments: &[&str], input: &[u8], deadline: Duration) -> (ExitStatus, Vec<u8>, String) {
    let watchdog = Watchdog::shared();
    let input_path = watchdog.fresh_folder("input").join("bytes");
    std::fs::write(&input_path, input).expect("write the tool's input");
    let mut tool = Guarded::start(program, &find_program(program), |command| {
        command.args(arguments).stdin(File::open(&input_path).expect("open the tool's input"));
    });
    let status = tool.wait_ended(deadline);
    let (output, tail) = (tool.stdout(), tool.tail());
    // Thousands of calls in one run should not fill the disk.
    let _ = std::fs::remove_dir_all(input_path.parent().expect("the path has a folder"));
    let _ = std::fs::remove_dir_all(&tool.folder);
    (status, output, tail)
}

/// Where a program is. Debian keeps brokers in a folder that is not on everybody's PATH.
///
/// # Panics
/// When it is not installed, naming the mend.
pub fn find_program(name: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/usr/local/sbin"]);
    folders
        .map(|folder| Path::new(folder).join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: run .ci/test"))
}

/// Waits until nothing runs under that number any more.
#[track_caller]
pub fn wait_gone(pid: u32, deadline: Duration) {
    wait_until(deadline, &format!("process {pid} to be gone"), || !is_running(pid));
}
