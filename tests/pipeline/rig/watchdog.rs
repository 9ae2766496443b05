//! Ends what the tests started when this process ends, in whatever way it ends.
//!
//! A shell waits on a pipe whose other end only this process holds. When the process is gone, killed or finished, the pipe
//! closes and the shell kills every process that registered in the run folder, then removes the folder. A process registers
//! itself before it becomes what it shall be (see [`Watchdog::command`]), so there is no moment at which it runs unregistered;
//! once the folder is gone nothing can register, and so nothing more can start. Shell and children have process groups of their
//! own: a Ctrl-C at the terminal ends the tests, and the tests' end ends the rest.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use std::os::unix::process::CommandExt;

/// `read` returns when the pipe closes. Moving the folder first makes a registration that comes late fail.
const ENDING: &str = r#"
trap '' HUP INT TERM
read -r nothing
mv "$1" "$1.ending" || exit 1
for file in "$1.ending"/*.pid; do
    [ -e "$file" ] && read -r pid <"$file" && kill -s KILL "$pid"
done
[ -n "$LONEWATCH_RIG_KEEP" ] || rm -rf "$1.ending"
"#;

/// Registers its own pid, and only then becomes the program.
const REGISTERED: &str = r#"
pid_file="$1"
shift
echo "$$" >"$pid_file" || exit 97
exec "$@"
"#;

/// A run folder and the shell that watches over it.
pub struct Watchdog {
    folder: PathBuf,
    shell: Child,
    /// Held, never written to: closing it is the signal.
    pipe: Option<ChildStdin>,
    started: AtomicU32,
}

impl Watchdog {
    /// The one of this test binary.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Watchdog> = OnceLock::new();
        SHARED.get_or_init(|| Self::new("shared"))
    }

    /// A watchdog with a fresh folder.
    pub fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("lonewatch-rig-{}-{name}", std::process::id()));
        // A folder of an earlier process with our number whose watchdog was killed too.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("create the rig's run folder");
        let mut shell = Command::new("sh")
            .args(["-c", ENDING, "lonewatch-rig-watchdog"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("start the watchdog's shell");
        let pipe = shell.stdin.take();
        Self { folder, shell, pipe, started: AtomicU32::new(0) }
    }

    /// Where processes of this run may keep their files; removed at the end. With `LONEWATCH_RIG_KEEP` set it stays, to be read.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A fresh folder below the run's.
    pub fn fresh_folder(&self, name: &str) -> PathBuf {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.join(format!("{number}-{name}"));
        std::fs::create_dir_all(&folder).expect("create a folder of the rig");
        folder
    }

    /// A command for the program, and the file in which its process registers; whoever reaps the process removes the file first.
    pub fn command(&self, program: &Path) -> (Command, PathBuf) {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let pid_file = self.folder.join(format!("{number}.pid"));
        let mut command = Command::new("sh");
        command.args(["-c", REGISTERED, "lonewatch-rig"]).arg(&pid_file).arg(program).process_group(0);
        (command, pid_file)
    }

    /// Ends everything that is registered, as the end of this process would, and waits for it.
    pub fn end(mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}
