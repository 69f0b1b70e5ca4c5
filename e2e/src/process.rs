//! Processes that cannot outlive the test run that started them.
//!
//! Every part runs in a process group of its own. A [`Keeper`] (a few lines of shell, in a group of its own
//! too) reads the other end of a pipe that only the test process holds: when that pipe closes, be it by a
//! drop, the end of the process, a panic or SIGKILL, the keeper kills every group and removes the folder.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// Reads `group ID`, `gone ID` and `keep`; when the input ends, kills what is left, runs the script `$1/tidy` if there
/// is one, and tidies `$1`.
/// A killed process may still be writing for a moment, hence the bounded second tries at removing.
const KEEPER: &str = r#"
trap '' INT HUP TERM
groups=' '; keep=no
while read -r word id; do
    case $word in
        group) groups="$groups$id " ;;
        gone) groups="${groups%% "$id" *} ${groups#* "$id" }" ;;
        keep) keep=yes ;;
    esac
done
for id in $groups; do kill -s KILL -- "-$id" 2>/dev/null; done
[ ! -e "$1/tidy" ] || /bin/sh "$1/tidy" "$1"
tries=0
while [ "$tries" -lt 50 ]; do
    tries=$((tries + 1))
    if [ "$keep" = yes ]; then
        for entry in "$1"/* "$1"/.[!.]*; do
            [ "$entry" = "$1/logs" ] || rm -rf -- "$entry" 2>/dev/null || continue 2
        done
        exit 0
    fi
    rm -rf -- "$1" 2>/dev/null && exit 0
    sleep 0.1
done
"#;

/// Kills what it was told of and removes the run's folder as soon as its owner is gone.
#[derive(Debug)]
pub struct Keeper {
    shell: Child,
    words: Mutex<Option<ChildStdin>>,
}

impl Keeper {
    /// Starts watching over `folder`.
    ///
    /// # Errors
    /// If there is no `/bin/sh`.
    pub fn start(folder: &Path) -> Result<Arc<Self>> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting /bin/sh, which tidies up after the control plane")?;
        let words = Mutex::new(shell.stdin.take());
        Ok(Arc::new(Self { shell, words }))
    }

    /// The logs stay when all else goes.
    pub fn keep_logs(&self) {
        // A keeper that cannot be told has already tidied up: there is nothing left to keep.
        let _ = self.say("keep");
    }

    fn say(&self, words: &str) -> Result<()> {
        match lock(&self.words).as_mut() {
            Some(pipe) => writeln!(pipe, "{words}").context("telling the keeper of processes"),
            None => bail!("the keeper of processes was already sent home"),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(lock(&self.words).take());
        // It ends within five seconds by itself; a failure to wait leaves only a zombie of ours.
        let _ = self.shell.wait();
    }
}

/// One part of the control plane: a command that can be started again, in its own process group.
#[derive(Debug)]
pub struct Part {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Mutex<Option<Child>>,
    keeper: Arc<Keeper>,
}

impl Part {
    /// Starts `program` with `arguments`; what it prints is appended to `log`.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn start(
        name: &'static str,
        program: PathBuf,
        arguments: Vec<String>,
        log: PathBuf,
        keeper: &Arc<Keeper>,
    ) -> Result<Self> {
        let part = Self { name, program, arguments, log, child: Mutex::new(None), keeper: Arc::clone(keeper) };
        part.start_again()?;
        Ok(part)
    }

    /// The part's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where what it prints goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Starts the part, with the same arguments, after [`Part::kill`].
    ///
    /// # Errors
    /// If it was not killed before, or cannot be started.
    pub fn start_again(&self) -> Result<()> {
        let mut slot = lock(&self.child);
        if slot.is_some() {
            bail!("{} was not killed, so it cannot be started again", self.name);
        }
        let log = File::options().create(true).append(true).open(&self.log).context("opening a part's log")?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {} ({})", self.name, self.program.display()))?;
        self.keeper.say(&format!("group {}", child.id()))?;
        *slot = Some(child);
        Ok(())
    }

    /// Freezes the part as SIGSTOP does: its sockets stay open, nothing is answered.
    ///
    /// # Errors
    /// If it is not running.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a frozen part go on.
    ///
    /// # Errors
    /// If it is not running.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Asks the part to end (SIGTERM). How that went, [`Part::ended`] says.
    ///
    /// # Errors
    /// If it is not running.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Ends the part at once (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// If it is not running.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        if let Some(mut child) = lock(&self.child).take() {
            child.wait().with_context(|| format!("waiting for the end of {}", self.name))?;
            self.keeper.say(&format!("gone {}", child.id()))?;
        }
        Ok(())
    }

    /// Whether it was started and not killed; it may have ended by itself.
    pub fn is_running(&self) -> bool {
        lock(&self.child).is_some()
    }

    /// How it ended, if it has ended by itself.
    pub fn ended(&self) -> Option<ExitStatus> {
        lock(&self.child).as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// The process that it started, if it is exactly one.
    pub(crate) fn only_child(&self) -> Option<u32> {
        let id = lock(&self.child).as_ref()?.id();
        std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?.trim().parse().ok()
    }

    /// Its resident memory in bytes; `None` where the system does not say (or it is not running).
    #[must_use]
    pub fn resident_bytes(&self) -> Option<u64> {
        // What runs inside a real node is the child of who entered it.
        let id = self.only_child().or_else(|| Some(lock(&self.child).as_ref()?.id()))?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    }

    /// What it has spent of the processors since it was started, in user and in kernel mode, seconds; `None` where the
    /// system does not say (or it is not running).
    #[must_use]
    pub fn cpu_seconds(&self) -> Option<f64> {
        let id = lock(&self.child).as_ref()?.id();
        cpu_seconds(id)
    }

    /// The last lines that it printed, for an error's text.
    #[must_use]
    pub fn last_words(&self, lines: usize) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let all: Vec<&str> = log.lines().collect();
        all.iter().skip(all.len().saturating_sub(lines)).map(|line| format!("    {line}\n")).collect()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let slot = lock(&self.child);
        let child = slot.as_ref().ok_or_else(|| anyhow!("{} is not running", self.name))?;
        let group = Pid::from_raw(child.id().cast_signed()).context("a process id of 0")?;
        kill_process_group(group, signal).with_context(|| format!("signalling {}", self.name))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Nothing to do about a part that has already ended.
        let _ = self.kill();
    }
}

/// A poisoned lock guards plain data here: the panic that poisoned it is reported by its own test.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
/// What the process of this number has used of the cores since it began, s. None: there is no such process.
#[must_use]
pub fn cpu_seconds(id: u32) -> Option<f64> {
    // Linux shows every process's time in hundredths of a second, whatever its own clock (proc_pid_stat(5)).
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // After the program's name, which may hold anything but ends with the last bracket: state, then eleven more.
    let mut times = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || times.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / TICKS_A_SECOND)
}
