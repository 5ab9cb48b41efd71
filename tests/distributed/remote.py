# Zoned images on other machines' storage: servers on the loopback interface, in a
# network and process namespace of their own.
#
# Nothing but the loopback interface is in that network, and when its first
# process, the test, ends in any way, the kernel ends all others.
#
# What is checked is the power-loss contract of tests/crash: what was asked and
# answered is in a log, and its oracle says what may be in an image after that.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import atexit
import fcntl
import getpass
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent / 'crash'), str(HERE.parent / 'guest')]

import program
import tap
from eventlog import read_log
from oracle import History, Oracle
from workload import (BIG_ZONES, OPEN_ZONES, SMALL_ZONES, VARIANTS, Looker,
                      Recording, Workload)

OBJ = program.OBJ
QEMU_IMG = OBJ / 'qemu-img'
PROMPT = 'qemu-io> '
KiB, MiB = 1024, 1 << 20
#: What has room for each of the images here; NBD and the like cannot grow
ROOM = 48 * MiB
WAIT = 60           # seconds, for what takes none
TRIES = 10

WORKLOADS = [
    Workload('mixed', SMALL_ZONES, 0, 24, 10, 'd60u2v6s5r5R1f3o2c2'),
    Workload('append', BIG_ZONES, 0, 32, 1, 'd95s5'),
    Workload('reset', SMALL_ZONES, 0, 8, 12, 'd50s3r12R1'),
    Workload('finish', {**SMALL_ZONES, 'zone.capacity': 8 * KiB}, 0, 8, 10,
             'd60s3f16r8'),
    Workload('durable', OPEN_ZONES, 0, 4, 10, 'e60u20d10r4f2R1'),
    Workload('lonely', BIG_ZONES, 0, 1, 2, 'e70u20r6f2'),
]
# A server may have done what it could not answer; then nobody takes that back
History.answers_get_lost = True
NO_DATA_FILE = [name for name in VARIANTS if name != 'data-file']


# --- A place of its own ---

def isolate():
    """Go on in namespaces of its own; to be called first of all."""
    if os.environ.pop('DISTRIBUTED_ISOLATED', None):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        private_run()
        loopback_up()
        return
    words = ['unshare', '--net', '--ipc', '--pid', '--fork', '--kill-child',
             '--mount-proc', *(['--map-root-user'] if os.getuid() else [])]
    done = subprocess.run([*words, 'true'], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(f'1..0 # SKIP no namespaces: {done.stdout.strip()}')
        sys.exit(0)
    os.environ['DISTRIBUTED_ISOLATED'] = '1'
    os.execvp('unshare', [*words, sys.executable, *sys.argv])


def private_run():
    """Sockets and the like of servers are not those of the host's."""
    run('mount', '-t', 'tmpfs', 'tmpfs', '/run')


def loopback_up():
    get_flags, set_flags, up = 0x8913, 0x8914, 1        # linux/sockios.h, if.h
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack('16sh14x', b'lo', 0)
        _, flags = struct.unpack('16sh14x', fcntl.ioctl(s, get_flags, request))
        fcntl.ioctl(s, set_flags, struct.pack('16sh14x', b'lo', flags | up))


def find(name):
    return shutil.which(name, path=f'{os.environ["PATH"]}:/usr/sbin:/sbin')


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(('127.0.0.1', port)) == 0


def kill_named(name):
    """In this namespace there are only those of ours."""
    for comm in Path('/proc').glob('[0-9]*/comm'):
        try:
            if comm.read_text() == f'{name}\n':
                os.kill(int(comm.parent.name), signal.SIGKILL)
        except (OSError, ProcessLookupError):
            pass


def missing(*programs):
    """Why a test is skipped, or None if all of them are there."""
    gone = [name for name in programs if not find(name)]
    return f'there is no {", ".join(gone)}' if gone else None


def no_driver(name):
    """Why a test is skipped if this QEMU has no such block driver."""
    done = subprocess.run([OBJ / 'qemu-io', '-c', 'quit', 'json:' + json.dumps(
        {'driver': name})], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if 'Unknown driver' in done.stdout:
        return f'QEMU was built without the block driver {name}'
    return None


def wait_until(what, condition, seconds=WAIT):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f'not within {seconds} seconds: {what}'
        time.sleep(.01)


# --- Images ---

class RemoteImage(Recording):
    """A recording of which the image is on @storage."""
    def __init__(self, storage, workload, variant, seed):
        super().__init__(storage.directory, workload, variant, seed)
        self.storage = storage

    def blockdev(self, _driver, suffix='', **options):
        assert not suffix
        node = {'driver': 'qcow2', 'file': self.storage.node(**options)}
        if self.variant != 'default':
            node['discard'] = node['file']['discard'] = 'unmap'
        if 'encrypt.format' in VARIANTS[self.variant]:
            node['encrypt'] = {'format': 'luks', 'key-secret': 'key'}
        return 'json:' + json.dumps(node)

    def create_file(self, name, options, *more):
        assert name == 'image' and not more
        self.storage.prepare()
        words = ','.join(f'{key}={value}' for key, value in options.items())
        run(QEMU_IMG, 'create', '-q', '--object', 'secret,id=key,data=crash',
            '-f', 'qcow2', '-o', words, self.storage.url())

    def start(self, tool, **options):
        """The workload, without an end."""
        self.path('log').touch()
        with open(self.path('errors'), 'wb') as errors:
            return subprocess.Popen(
                self.command(tool, self.blockdev('', **options), 1 << 40,
                             self.workload.mix), stderr=errors)

    def logged(self):
        return self.path('log').stat().st_size

    def judge(self, looker):
        """What is wrong with what is there now, and what QEMU's check says."""
        events, length = read_log(self.path('log'))
        image = self.blockdev('')
        wrong = Oracle(events, self.workload.zones).judge(length, looker.look(image))
        done = subprocess.run(
            [QEMU_IMG, 'check', '--object', 'secret,id=key,data=crash', image],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode not in (0, 3):       # 3: leaked clusters only
            wrong += done.stdout.splitlines()[-3:]
        return wrong


def run(*words, **options):
    """Run a program that must succeed; what it prints."""
    done = subprocess.run([str(word) for word in words], text=True, timeout=300,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    assert done.returncode == 0, f'{" ".join(map(str, words))}:\n{done.stdout}'
    return done.stdout


class QemuIo:
    """qemu-io with one command after the other"""
    def __init__(self, image, *options):
        self.child = subprocess.Popen(
            [OBJ / 'qemu-io', '-t', 'writeback', *options, image],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True)
        self.opened = self.answer()

    def answer(self):
        text = ''
        while not text.endswith(PROMPT):
            character = self.child.stdout.read(1)
            if not character:
                break
            text += character
        return text.removesuffix(PROMPT)

    def send(self, command):
        self.child.stdin.write(f'{command}\n')
        self.child.stdin.flush()

    def ask(self, command):
        self.send(command)
        return self.answer()

    def close(self):
        """End it as a user does; what it said then, its status."""
        self.child.stdin.close()
        text = self.child.stdout.read()
        return text, self.child.wait()

    def kill(self):
        self.child.kill()
        self.child.wait()
        self.child.stdin.close()
        self.child.stdout.close()


# --- Storage ---

class Storage:
    """
    Where an image is.  prepare(): an empty place for one; url(): its name; node():
    options of the block node; start(), kill(): the server.
    """
    #: It may still do what a dead client has asked for, until it ends
    FENCE = True

    def __init__(self, directory):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.children = []

    def path(self, name):
        return self.directory / name

    def spawn(self, *words, **options):
        with open(self.path('server-errors'), 'ab') as errors:
            child = subprocess.Popen([str(word) for word in words],
                                     stdin=subprocess.DEVNULL, stdout=errors,
                                     stderr=errors, **options)
        self.children.append(child)
        return child

    def kill(self):
        while self.children:
            child = self.children.pop()
            child.kill()
            child.wait()

    def restart(self):
        self.kill()
        self.start()

    def prepare(self):
        self.kill()
        with open(self.path('disk'), 'wb') as f:
            f.truncate(ROOM)
        self.start()


class Nbd(Storage):
    """A server on a UNIX socket, and what is in front of it, if anything."""
    def __init__(self, directory):
        super().__init__(directory)
        self.socket = self.path('nbd')

    def node(self, reconnect=None, **more):
        node = {'driver': 'nbd', 'server': {'type': 'unix', 'path': str(self.socket)}}
        if reconnect is not None:
            node['reconnect-delay'] = reconnect
        return {**node, **more}

    def url(self):
        return f'nbd+unix:///?socket={self.socket}'

    def command(self):
        raise NotImplementedError

    def start(self):
        self.path('nbd').unlink(missing_ok=True)
        child = self.spawn(*self.command())

        def listens():
            assert child.poll() is None, self.path('server-errors').read_text()
            with socket.socket(socket.AF_UNIX) as s:
                return s.connect_ex(str(self.path('nbd'))) == 0
        wait_until('an NBD server that listens', listens)


class QemuNbd(Nbd):
    def __init__(self, directory, *options):
        super().__init__(directory)
        self.options = options

    def command(self):
        # "-t": it goes on after a client
        return [OBJ / 'qemu-nbd', '-t', '-f', 'raw', '--discard=unmap',
                *self.options, '-k', self.path('nbd'),
                self.path('disk')]


class SlowQemuNbd(QemuNbd):
    """It does so many writes a second, and others wait."""
    def command(self):
        return [OBJ / 'qemu-nbd', '-t', *self.options, '-k', self.path('nbd'),
                '--object', 'throttle-group,id=slow,x-iops-write=200', '--image-opts',
                'driver=throttle,throttle-group=slow,file.driver=file,'
                f'file.filename={self.path("disk")}']


class NbdKit(Nbd):
    def __init__(self, directory, *options):
        super().__init__(directory)
        filters = [word for word in options if word.startswith('--')]
        self.options = [*filters, 'file', f'file={self.path("disk")}',
                        *(word for word in options if word not in filters)]

    def command(self):
        return ['nbdkit', '-f', '-U', self.path('nbd'), *self.options]


class Proxy:
    """
    Between a client and an NBD server: the connection can be cut, and before that
    answers can get lost (swallow).
    """
    def __init__(self, storage):
        self.storage, self.pairs, self.swallow, self.swallowed = storage, [], False, 0
        self.listener = socket.socket(socket.AF_UNIX)
        storage.socket = storage.path('proxy')
        storage.socket.unlink(missing_ok=True)
        self.listener.bind(str(storage.socket))
        self.listener.listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.socket(socket.AF_UNIX)
                self.pairs.append((client, server))
                server.connect(str(self.storage.path('nbd')))
            except OSError:
                if self.listener.fileno() < 0:
                    return
                self.cut()
                continue
            for words in ((client, server, False), (server, client, True)):
                threading.Thread(target=self.pass_on, args=words, daemon=True).start()

    def pass_on(self, source, target, is_answer):
        try:
            while data := source.recv(65536):
                if is_answer and self.swallow:
                    self.swallowed += len(data)
                else:
                    target.sendall(data)
        except OSError:
            pass
        self.shut(source, target)

    @staticmethod
    def shut(*ends):
        for end in ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        while self.pairs:
            self.shut(*self.pairs.pop())

    def close(self):
        listener, self.storage = self.listener, None
        self.shut(listener)
        listener.close()
        self.cut()


class Ssh(Storage):
    """
    OpenSSH's server, with keys of its own.  What is in files is not lost when it
    ends, as on a machine that goes on.
    """
    PROGRAMS = 'sshd', 'ssh-agent', 'ssh-add', 'ssh-keygen'
    PORT = 2222
    CONFIG = """
        ListenAddress 127.0.0.1:{port}
        HostKey {run}/key
        AuthorizedKeysFile {run}/key.pub
        StrictModes no
        UsePAM no
        PermitRootLogin prohibit-password
        PasswordAuthentication no
        PidFile none
        Subsystem sftp internal-sftp
    """

    RUN = Path('/run/sshd')     # private, see private_run()

    def __init__(self, directory):
        super().__init__(directory)
        if not self.RUN.exists():
            self.RUN.mkdir()
            self.make_key()
        self.path('config').write_text(self.CONFIG.format(port=self.PORT, run=self.RUN))

    def make_key(self):
        """One for all tests, which clients have from an agent."""
        run('ssh-keygen', '-q', '-N', '', '-f', self.RUN / 'key')
        subprocess.Popen(['ssh-agent', '-D', '-a', self.RUN / 'agent'],
                         stdout=subprocess.DEVNULL)
        os.environ['SSH_AUTH_SOCK'] = str(self.RUN / 'agent')
        wait_until('an agent', (self.RUN / 'agent').exists)
        run('ssh-add', '-q', self.RUN / 'key')

    def url(self):
        return (f'ssh://{getpass.getuser()}@127.0.0.1:{self.PORT}{self.path("disk")}'
                '?host_key_check=no')

    def node(self, **more):
        return {'driver': 'ssh', 'server': {'host': '127.0.0.1', 'port': str(self.PORT)},
                'user': getpass.getuser(), 'path': str(self.path('disk')),
                'host-key-check': {'mode': 'none'}, **more}

    def start(self):
        self.spawn(find('sshd'), '-D', '-f', self.path('config'))
        wait_until('an SSH server that listens', lambda: listens(self.PORT))

    def kill(self):
        super().kill()
        kill_named('sshd')      # its sessions

    def prepare(self):
        self.kill()
        self.path('disk').unlink(missing_ok=True)
        self.start()


class Nfs(Storage):
    """NFS-Ganesha, with a portmapper: QEMU's driver has version 3."""
    PROGRAMS = 'ganesha.nfsd', 'rpcbind'
    mapper, number = None, 0
    # A file system that is mounted in one place only, as Ganesha wants it
    FILES = Path('/run/files')
    CONFIG = """
        NFS_CORE_PARAM {{ Protocols = 3; Enable_NLM = false;
                          Enable_RQUOTA = false; }}
        NFSv4 {{ Graceless = true; RecoveryRoot = {directory}; }}
        EXPORT {{ Export_Id = 1; Path = {files}; Pseudo = /files;
                  Access_Type = RW; Protocols = 3; Transports = TCP; SecType = sys;
                  Squash = No_Root_Squash; FSAL {{ Name = VFS; }} }}
    """

    def __init__(self, directory):
        super().__init__(directory)
        self.FILES.mkdir(exist_ok=True)
        self.path('config').write_text(self.CONFIG.format(directory=self.directory,
                                                          files=self.FILES))
    def url(self):
        return f'nfs://127.0.0.1{self.FILES}/disk{self.number}'

    def node(self, **more):
        return {'driver': 'nfs', 'server': {'type': 'inet', 'host': '127.0.0.1'},
                'path': f'{self.FILES}/disk{self.number}', **more}

    def start(self):
        if not Nfs.mapper:
            Nfs.mapper = subprocess.Popen([find('rpcbind'), '-f', '-w'])
            wait_until('a portmapper that listens', lambda: listens(111))
        log = self.path('log-of-server')
        log.unlink(missing_ok=True)
        self.spawn(find('ganesha.nfsd'), '-F', '-f', self.path('config'),
                   '-L', log, '-p', self.path('pid'))
        wait_until('an NFS server', lambda: log.exists() and
                   'NFS SERVER INITIALIZED' in log.read_text(errors='replace'))

    def prepare(self):
        if not self.children:
            self.start()
        # Ganesha caches names: one that is removed behind its back is stale
        self.number += 1


class Rbd(Storage):
    """
    An image of RBD, each time another one.  The cluster has one monitor, one
    manager, and one OSD, which is killed; all tests of a program share it.
    """
    CONFIG = """
        [global]
        fsid = {fsid}
        mon_initial_members = a
        mon_host = v1:127.0.0.1:6789
        public_addr = 127.0.0.1
        cluster_addr = 127.0.0.1
        ms_bind_ipv6 = false
        auth_cluster_required = none
        auth_service_required = none
        auth_client_required = none
        run_dir = {directory}
        admin_socket = {directory}/$name.$pid.asok
        log_file = {directory}/$name.log
        pid_file =
        mon_data = {directory}/mon
        mgr_data = {directory}/mgr
        osd_data = {directory}/osd
        mon_allow_pool_size_one = true
        mon_data_avail_warn = 1
        mon_data_avail_crit = 1
        osd_pool_default_size = 1
        osd_pool_default_min_size = 1
        osd_pool_default_pg_num = 8
        osd_crush_chooseleaf_type = 0
        osd_objectstore = bluestore
        bluestore_block_size = 2147483648
        osd_memory_target = 939524096
        # A dead client has its lock so long; 30 seconds otherwise
        osd_client_watch_timeout = 3
        # Tell that it is gone at once, and take it back
        osd_max_markdown_count = 1000
        mon_osd_min_down_reporters = 1
    """
    FENCE = False       # the next client breaks the lock of a dead one
    DIRECTORY = program.BUILD / 'ceph'
    PROGRAMS = 'ceph', 'ceph-mon', 'ceph-mgr', 'ceph-osd', 'rbd'
    osd, is_made = None, False
    number = 0

    @property
    def config(self):
        return self.DIRECTORY / 'config'

    @property
    def name(self):
        return f'disk{Rbd.number}'

    def url(self):
        return f'rbd:rbd/{self.name}:conf={self.config}'

    def node(self, **more):
        return {'driver': 'rbd', 'pool': 'rbd', 'image': self.name,
                'conf': str(self.config), **more}

    def daemon(self, kind, name):
        with open(self.DIRECTORY / f'{kind}-errors', 'ab') as errors:
            return subprocess.Popen([f'ceph-{kind}', '-c', self.config, '-i', name, '-f'],
                                    stdin=subprocess.DEVNULL, stdout=errors,
                                    stderr=errors)

    def ceph(self, *words):
        """What it says; now and then it forgets the cluster's ID, and is refused."""
        for _ in range(TRIES):
            done = subprocess.run(['ceph', '-c', self.config, *map(str, words)],
                                  text=True, stdin=subprocess.DEVNULL, timeout=WAIT,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            if done.returncode == 0:
                return done.stdout
        raise AssertionError(f'ceph {words}: {done.stderr}')

    def osd_map(self):
        return json.loads(self.ceph('osd', 'dump', '-f', 'json'))

    def make_cluster(self):
        shutil.rmtree(self.DIRECTORY, ignore_errors=True)
        atexit.register(shutil.rmtree, self.DIRECTORY, ignore_errors=True)
        for name in 'mon', 'mgr', 'osd':
            (self.DIRECTORY / name).mkdir(parents=True)
        self.config.write_text(textwrap.dedent(self.CONFIG).format(
            fsid=uuid.uuid4(), directory=self.DIRECTORY))
        run('ceph-mon', '-c', self.config, '-i', 'a', '--mkfs')
        self.daemon('mon', 'a')
        wait_until('a monitor', lambda: listens(6789))
        self.daemon('mgr', 'a')
        osd = uuid.uuid4()
        self.ceph('osd', 'new', osd)
        run('ceph-osd', '-c', self.config, '-i', 0, '--mkfs', '--osd-uuid', osd)

    @property
    def children(self):
        """As of others, what has to be started after kill()"""
        return [Rbd.osd] if Rbd.osd else []

    @children.setter
    def children(self, _):
        pass

    def is_up(self):
        if Rbd.osd.poll() is not None:
            # It was refused, as ceph() is
            self.starts += 1
            assert self.starts < TRIES, (self.DIRECTORY / 'osd-errors').read_text()
            Rbd.osd = self.daemon('osd', '0')
        state = self.osd_map()['osds'][0]
        return state['up'] and state['up_from'] > self.down_at

    def start(self):
        first, Rbd.is_made = not Rbd.is_made, True
        if first:
            self.make_cluster()
        self.down_at = self.osd_map()['epoch']
        self.starts = 1
        Rbd.osd = self.daemon('osd', '0')
        wait_until('an OSD that is up', self.is_up, 5 * WAIT)
        if first:
            self.ceph('osd', 'pool', 'create', 'rbd', '8')

    def kill(self):
        """The OSD; between tests it stays."""
        if Rbd.osd:
            Rbd.osd.kill()
            Rbd.osd.wait()
            Rbd.osd = None

    def prepare(self):
        if not Rbd.osd:
            self.start()
        Rbd.number += 1


# --- Tests ---

def work_on(client, image, rng, seconds=.1):
    """Until something else was asked, or has failed, and a moment longer."""
    before = image.logged()
    wait_until('requests', lambda: image.logged() > before or
               client.poll() is not None)
    time.sleep(rng.uniform(0, seconds))


def nothing(_client, _image, _rng):
    pass


def kill_server(client, image, rng):
    image.storage.kill()
    work_on(client, image, rng, 0)      # what fails, fails fast


def restart_server(client, image, rng):
    for _ in range(3):
        image.storage.restart()
        work_on(client, image, rng)


class Case(tap.unittest.TestCase):
    """self.scratch: a directory; the tool and the looker of tests/crash"""
    ROUNDS, QUICK_ROUNDS = 6, 3      # at least once each workload
    VARIANTS = NO_DATA_FILE
    tool = looker = None

    def setUp(self):
        memory = '/dev/shm' if Path('/dev/shm').is_dir() else None
        self.scratch = Path(tempfile.mkdtemp(
            dir=memory, prefix='distributed-'))
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        if not Case.tool:
            Case.tool = program.build()
            Case.looker = Looker(Case.tool)

    def need(self, reason):
        if reason:
            self.skipTest(reason)

    def storage(self, kind, *options):
        storage = kind(self.scratch / 'server', *options)
        self.addCleanup(storage.kill)
        return storage

    def rounds(self, storage, interrupt, variants=None, **node):
        """
        Work on images of all kinds; interrupt(client, image, rng) does something
        bad.  Then the client is killed, and the image is judged.
        """
        count = self.QUICK_ROUNDS if tap.options().quick else self.ROUNDS
        bad = []
        for number in range(count):
            rng = random.Random(f'{self.id()}/{number}')
            image = RemoteImage(storage, WORKLOADS[number % len(WORKLOADS)],
                                rng.choice(variants or self.VARIANTS), number)
            image.create(self.tool)
            bad += self.round(image, interrupt, rng, node)
        self.assertEqual(bad, [])

    def round(self, image, interrupt, rng, node):
        client = image.start(self.tool, **node)
        try:
            wait_until('the first request', lambda: image.logged() or
                       client.poll() is not None)
            time.sleep(rng.uniform(0, .3))
            interrupt(client, image, rng)
        finally:
            status = client.poll()
            client.kill()
            client.wait()
        if image.storage.FENCE:
            image.storage.kill()
        if not image.storage.children:
            image.storage.start()
        wrong = [] if status is None else [f'the client has ended: {status}']
        wrong += image.judge(self.looker)
        if wrong:
            wrong += image.path('errors').read_text(errors='replace').splitlines()
        return [f'{image.workload.name} {image.variant} #{image.seed}: {text}'
                for text in wrong[:10]]
