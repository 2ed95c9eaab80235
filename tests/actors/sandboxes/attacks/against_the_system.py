"""Programs that write files, use the network, read what is not theirs, or call the kernel."""

from tests.actors.sandboxes.attacks.attack import attempts

SECRET = "GRISTMILL_ATTACKED_SECRET"  # an environment variable of the host

ATTACKS = (
    attempts(
        "files written",
        """
        for folder in ("/", "/tmp", "/var/tmp", "/dev", "/dev/shm", "/dev/mqueue", "/run", "/proc/self", "/etc", "/packages", "/python", os.path.expanduser("~"), "."):
            path = f"{folder}/gristmill-attack"
            if possible(os.open, path, os.O_CREAT | os.O_WRONLY): found.append(path)
            if possible(os.open, folder, os.O_TMPFILE | os.O_RDWR): found.append(f"{folder} without a name")
            if possible(os.mkdir, path): found.append(f"{path}, a folder")
            if possible(os.symlink, "/etc/passwd", path): found.append(f"{path}, a link")
            if possible(os.mkfifo, path): found.append(f"{path}, a pipe")
            if possible(os.mknod, path): found.append(f"{path}, a node")
        """,
        safe_without_a_box=False,
    ),
    attempts(
        "files changed",
        """
        ways = {
            "rename": lambda: os.rename("/fork_server.py", "/other.py"),
            "unlink": lambda: os.unlink("/fork_server.py"),
            "truncate": lambda: os.truncate("/fork_server.py", 0),
            "chmod": lambda: os.chmod("/fork_server.py", 0o777),
            "chown": lambda: os.chown("/fork_server.py", 0, 0),
            "utime": lambda: os.utime("/fork_server.py"),
            "link": lambda: os.link("/fork_server.py", "/other.py"),
            "setxattr": lambda: os.setxattr("/fork_server.py", "user.x", b"x"),
            "open to write": lambda: os.open(os.__file__, os.O_WRONLY),
            "open to read and write": lambda: os.open(sys.executable, os.O_RDWR),
            "open and empty": lambda: os.open(os.__file__, os.O_RDONLY | os.O_TRUNC),
            "the loader": lambda: os.open("/lib64/ld-linux-x86-64.so.2", os.O_WRONLY),
            "sparse": lambda: os.posix_fallocate(1, 0, 1 << 40),
            "ftruncate": lambda: os.ftruncate(1, 1 << 40),
            "sendfile": lambda: os.sendfile(1, os.open(os.__file__, os.O_RDONLY), 0, 10),
            "splice": lambda: LIBC.splice(0, None, 1, None, 10, 0),
            "copy_file_range": lambda: os.copy_file_range(os.open(os.__file__, os.O_RDONLY), 1, 10),
        }
        for name, way in ways.items():
            if possible(way): found.append(name)
        """,
        safe_without_a_box=False,
    ),
    attempts(
        "descriptors exhausted",
        """
        kept = []
        try:
            while len(kept) < 1000: kept.append(os.open("/", os.O_RDONLY))
        except OSError: pass
        if len(kept) > 32: found.append(len(kept))
        """,
    ),
    attempts(
        "the network",
        """
        import socket
        for address in (("127.0.0.1", 6379), ("127.0.0.1", 8265), ("127.0.0.1", 10001), ("169.254.169.254", 80), ("8.8.8.8", 53)):
            if possible(lambda: socket.create_connection(address, 0.05)): found.append(address)
        kinds = {
            "udp": (socket.AF_INET, socket.SOCK_DGRAM), "unix": (socket.AF_UNIX, socket.SOCK_STREAM),
            "raw": (socket.AF_INET, socket.SOCK_RAW), "packet": (socket.AF_PACKET, socket.SOCK_RAW),
            "netlink": (socket.AF_NETLINK, socket.SOCK_RAW), "kernel crypto": (socket.AF_ALG, socket.SOCK_SEQPACKET),
            "vsock": (40, socket.SOCK_STREAM), "ipv6": (socket.AF_INET6, socket.SOCK_STREAM),
        }
        for name, kind in kinds.items():
            if possible(lambda: socket.socket(*kind)): found.append(name)
        if possible(socket.socketpair): found.append("a pair")
        if possible(socket.getaddrinfo, "localhost", 80): found.append("names")
        """,
        safe_without_a_box=False,  # there a name is found in /etc/hosts
    ),
    attempts(
        "what is not its own to read",
        f"""
        paths = ("/proc/1/environ", "/proc/1/root/etc/passwd", "/proc/1/cwd/etc", "/etc/passwd", "/etc/shadow", "/root", "/home", "/var", "/usr", "/dev/sda", "/dev/mem", "/proc/kcore", "/proc/kmsg")
        found += [path for path in paths if possible(os.open, path, os.O_RDONLY)]
        found += [name for name in os.environ if name == {SECRET!r} or "KEY" in name or "TOKEN" in name]
        for number in range(1, 300):
            try: text = open(f"/proc/{{number}}/environ", "rb").read()
            except OSError: continue
            if {SECRET.encode()!r} in text: found.append(f"the secret of {{number}}")
        """,
        safe_without_a_box=False,
    ),
    attempts(
        "the kernel",
        """
        ways = {
            "ptrace": lambda: LIBC.ptrace(0, 0, 0, 0),
            "mount": lambda: LIBC.mount(b"none", b"/tmp", b"tmpfs", 0, None),
            "umount": lambda: LIBC.umount2(b"/", 2),
            "unshare a user": lambda: LIBC.unshare(0x10000000),
            "unshare": lambda: LIBC.unshare(0x20000),
            "setns": lambda: LIBC.setns(0, 0),
            "chroot": lambda: os.chroot("/"),
            "pivot_root": lambda: LIBC.syscall(155, b"/", b"/"),
            "setuid": lambda: os.setuid(os.getuid()),
            "setgroups": lambda: os.setgroups([]),
            "setsid": os.setsid,
            "prctl": lambda: LIBC.prctl(4, 1, 0, 0, 0),
            "seccomp": lambda: LIBC.syscall(317, 0, 0, 0),
            "personality": lambda: LIBC.personality(0x0040000),
            "io_uring": lambda: LIBC.syscall(425, 8, ctypes.create_string_buffer(120)),
            "keyctl": lambda: LIBC.syscall(250, 0, -3, 1),
            "add_key": lambda: LIBC.syscall(248, b"user", b"x", b"x", 1, -3),
            "bpf": lambda: LIBC.syscall(321, 0, ctypes.create_string_buffer(128), 128),
            "perf_event_open": lambda: LIBC.syscall(298, ctypes.create_string_buffer(128), 0, -1, -1, 0),
            "userfaultfd": lambda: LIBC.syscall(323, 1),
            "fanotify": lambda: LIBC.fanotify_init(0, 0),
            "inotify": lambda: LIBC.inotify_init1(0),
            "epoll": lambda: LIBC.epoll_create1(0),
            "eventfd": lambda: LIBC.eventfd(0, 0),
            "timer": lambda: LIBC.syscall(222, 0, None, ctypes.create_string_buffer(8)),
            "the clock set": lambda: time.clock_settime(time.CLOCK_REALTIME, 0),
            "reboot": lambda: LIBC.syscall(169, 0xfee1dead, 672274793, 0x89abcdef, None),
            "the host's name": lambda: __import__("socket").sethostname("x"),
            "a module": lambda: LIBC.syscall(175, None, 0, b""),
            "a file by its handle": lambda: LIBC.syscall(304, 0, None, 0),
            "landlock": lambda: LIBC.syscall(444, None, 0, 1),
            "pidfd": lambda: LIBC.syscall(434, os.getpid(), 0),
            "futex of others": lambda: LIBC.syscall(449, None, 0, 1 << 31, None, 0),
        }
        for name, way in ways.items():
            if possible(way): found.append(name)
        """,
        safe_without_a_box=False,
    ),
)  # fmt: skip

# Every system call by its number, but for those that the filter allows: none may do anything. Of the two that are left
# out the kernel asks no filter; it answers uretprobe and uprobe with a signal to whoever calls them by themselves.
EVERY_CALL = """
import ctypes

LIBC = ctypes.CDLL(None, use_errno=True)

def transform(allowed):
    found = []
    for number in sorted(set(range(700)) - set(allowed) - {335, 336}):
        ctypes.set_errno(0)
        LIBC.syscall(number, 0, 0, 0, 0, 0, 0)
        if ctypes.get_errno() not in (1, 38): found.append([number, ctypes.get_errno()])
    return found
"""
