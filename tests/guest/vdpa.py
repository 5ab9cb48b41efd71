#!/usr/bin/env python3
#
# What the tests of vduse-blk need in the guest: the part of iproute2's "vdpa"
# that adds and removes devices, a QMP client, and a driver of virtio-blk that
# sends what it likes, on /dev/vhost-vdpa-0.
#
# As a program:  vdpa.py dev add name NAME mgmtdev vduse
#                vdpa.py dev del NAME
#                vdpa.py qmp SOCKET COMMAND [ARGUMENTS]
#
# SPDX-License-Identifier: GPL-2.0-or-later

import ctypes
import errno
import fcntl
import json
import mmap
import os
import socket
import struct
import sys
import time

# --- Netlink ---

NLM_F_REQUEST, NLM_F_ACK, NLMSG_ERROR, GENL_ID_CTRL = 1, 4, 2, 16
CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 3, 1, 2
VDPA_CMD_DEV_NEW, VDPA_CMD_DEV_DEL = 3, 4
VDPA_ATTR_MGMTDEV_DEV_NAME, VDPA_ATTR_DEV_NAME = 2, 4


def netlink(family, command, attributes):
    """Send a request to a generic family; return the answer's attributes."""
    data = struct.pack('=BBxx', command, 1)
    for kind, text in attributes.items():
        value = text.encode() + b'\0'
        data += struct.pack('=HH', 4 + len(value), kind) + value
        data += bytes(-len(data) % 4)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as sock:
        sock.send(struct.pack('=IHHII', 16 + len(data), family,
                              NLM_F_REQUEST | NLM_F_ACK, 1, 0) + data)
        answer = sock.recv(65536)
    if struct.unpack_from('=H', answer, 4)[0] == NLMSG_ERROR:
        error = -struct.unpack_from('=i', answer, 16)[0]
        if error:
            raise OSError(error, os.strerror(error))
        return {}
    found, pos = {}, 20
    while pos < len(answer):
        size, kind = struct.unpack_from('=HH', answer, pos)
        found[kind] = answer[pos + 4:pos + size]
        pos += (size + 3) & ~3
    return found


def vdpa(command, attributes):
    family = netlink(GENL_ID_CTRL, CTRL_CMD_GETFAMILY,
                     {CTRL_ATTR_FAMILY_NAME: 'vdpa'})
    netlink(struct.unpack('=H', family[CTRL_ATTR_FAMILY_ID])[0], command,
            attributes)


# --- QMP ---

def qmp(path, command, arguments=None):
    """Run a command; return what it returns, or raise with its error."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        file = sock.makefile('rw')
        file.readline()
        for execute in ({'execute': 'qmp_capabilities'},
                        {'execute': command, 'arguments': arguments or {}}):
            file.write(json.dumps(execute) + '\n')
            file.flush()
            while True:
                answer = json.loads(file.readline())
                if 'event' not in answer:
                    break
    if 'error' in answer:
        raise RuntimeError(answer['error']['desc'])
    return answer['return']


# --- A driver ---

GET_FEATURES, SET_FEATURES, SET_OWNER = 0x8008af00, 0x4008af00, 0xaf01
SET_VRING_NUM, SET_VRING_ADDR = 0x4008af10, 0x4028af11
SET_VRING_BASE, SET_VRING_KICK = 0x4008af12, 0x4008af20
SET_BACKEND_FEATURES, GET_STATUS, SET_STATUS = 0x4008af25, 0x8001af71, 0x4001af72
GET_CONFIG, SET_VRING_ENABLE = 0x8008af73, 0x4008af75

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK = 1, 2, 4, 8
F_RO, F_FLUSH, F_DISCARD, F_ZONED, F_EVENT_IDX, F_VERSION_1 = 5, 9, 13, 17, 29, 32
IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13
APPEND, REPORT, OPEN, CLOSE, FINISH, RESET, RESET_ALL = 15, 16, 18, 20, 22, 24, 26
OK, IOERR, UNSUPP, INVALID, UNALIGNED, NO_OPEN, NO_ACTIVE = range(7)

IOVA = 0x10000000
MEMORY = 2 << 20
NUM = 256                   # of descriptors; none is used twice
AVAIL, USED, BUFFERS = 0x1000, 0x2000, 0x10000


class Disk:
    """One queue of the disk, without interrupts."""

    def __init__(self, refuse=()):
        """Negotiate all features but those in refuse, and start."""
        self.fd = self.open()
        fcntl.ioctl(self.fd, SET_OWNER)
        fcntl.ioctl(self.fd, SET_BACKEND_FEATURES, struct.pack('=Q', 2))
        memory = os.memfd_create('memory')
        os.ftruncate(memory, MEMORY)
        self.mem = mmap.mmap(memory, MEMORY)
        self.map(2)
        self.offered = struct.unpack('=Q', fcntl.ioctl(
            self.fd, GET_FEATURES, bytes(8)))[0]
        self.avail = self.free = 0
        self.heads = {}
        self.set_status(0)
        self.set_status(ACKNOWLEDGE | DRIVER)
        features = self.offered & ~sum(1 << f for f in (F_EVENT_IDX, *refuse))
        fcntl.ioctl(self.fd, SET_FEATURES, struct.pack('=Q', features))
        self.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK)
        self.accepted = bool(self.status() & FEATURES_OK)

    def start(self, used=IOVA + USED):
        fcntl.ioctl(self.fd, SET_VRING_NUM, struct.pack('=II', 0, NUM))
        fcntl.ioctl(self.fd, SET_VRING_ADDR, struct.pack(
            '=IIQQQQ', 0, 0, IOVA, used, IOVA + AVAIL, 0))
        fcntl.ioctl(self.fd, SET_VRING_BASE, struct.pack('=II', 0, 0))
        self.kick = os.eventfd(0)
        fcntl.ioctl(self.fd, SET_VRING_KICK, struct.pack('=Ii', 0, self.kick))
        fcntl.ioctl(self.fd, SET_VRING_ENABLE, struct.pack('=II', 0, 1))
        self.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK)
        return self

    def close(self):
        os.close(self.fd)

    def map(self, kind):
        """Map (2) or unmap (3) the memory."""
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.mem))
        os.write(self.fd, struct.pack('=IIQQQBB38x', 2, 0, IOVA, MEMORY,
                                      address, 3, kind))

    def status(self):
        return fcntl.ioctl(self.fd, GET_STATUS, bytes(1))[0]

    def set_status(self, status):
        fcntl.ioctl(self.fd, SET_STATUS, bytes([status]))

    def config(self, offset, size):
        data = bytearray(struct.pack('=II', offset, size) + bytes(size))
        fcntl.ioctl(self.fd, GET_CONFIG, data)
        return bytes(data[8:])

    def submit(self, *buffers):
        """
        Make a chain available: bytes are for the device to read, a number is
        the size of a buffer for it to write.  Returns where it is.
        """
        head, writable = self.free, []
        for i, buffer in enumerate(buffers):
            at = BUFFERS + self.free * 4096
            size = buffer if isinstance(buffer, int) else len(buffer)
            more = i + 1 < len(buffers)
            if isinstance(buffer, int):
                self.mem[at:at + size] = b'\xee' * size
                writable.append((at, size))
            else:
                self.mem[at:at + size] = buffer
            struct.pack_into('=QIHH', self.mem, self.free * 16, IOVA + at, size,
                             more | isinstance(buffer, int) << 1, self.free + 1)
            self.free += 1
        self.heads[head] = writable
        struct.pack_into('=H', self.mem, AVAIL + 4 + self.avail % NUM * 2, head)
        self.avail += 1
        struct.pack_into('=H', self.mem, AVAIL + 2, self.avail)
        os.eventfd_write(self.kick, 1)
        return head

    def request(self, kind, sector=0, data=b'', size=0):
        """Submit a sound request, with this many bytes of answer."""
        parts = [struct.pack('=IIQ', kind, 0, sector), data, size, 1]
        return self.submit(*(part for part in parts if part))

    def done(self):
        """How many requests are done."""
        return struct.unpack_from('=H', self.mem, USED + 2)[0]

    @staticmethod
    def open():
        """Who had the device before may not be gone yet."""
        deadline = time.monotonic() + 30
        while True:
            try:
                return os.open('/dev/vhost-vdpa-0', os.O_RDWR)
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def wait(self, count=None, timeout=20):
        """Wait until so many requests are done or more, or all that there were."""
        deadline = time.monotonic() + timeout
        while self.done() < (self.avail if count is None else count):
            if time.monotonic() > deadline:
                raise TimeoutError(f'{self.done()} requests are done')
            time.sleep(0.005)

    def answer(self, head):
        """What the device has written to the chain's buffers."""
        return b''.join(self.mem[at:at + size] for at, size in self.heads[head])

    def used(self):
        """The chains in the used ring, and how much was written to them."""
        return [struct.unpack_from('=II', self.mem, USED + 4 + i * 8)
                for i in range(self.done())]

    def do(self, *args, **kwargs):
        """Do a sound request; return its status, and its answer before it."""
        head = self.request(*args, **kwargs)
        self.wait()
        answer = self.answer(head)
        return answer[-1], answer[:-1]

    def zones(self, count=4):
        """The states and pointers (in sectors, from their start) of zones."""
        status, data = self.do(REPORT, size=64 + 64 * count)
        assert status == OK, status
        found = []
        for i in range(struct.unpack_from('=Q', data)[0]):
            _, start, pointer, _, state = struct.unpack_from('=QQQBB', data,
                                                             64 + 64 * i)
            found.append((state, pointer - start))
        return found


def main():
    args = sys.argv[1:]
    if args[0] == 'qmp':
        print(json.dumps(qmp(args[1], args[2], json.loads(args[3])
                             if len(args) > 3 else None)))
    elif args[1] == 'add':
        vdpa(VDPA_CMD_DEV_NEW, {VDPA_ATTR_MGMTDEV_DEV_NAME: args[5],
                                VDPA_ATTR_DEV_NAME: args[3]})
    else:
        vdpa(VDPA_CMD_DEV_DEL, {VDPA_ATTR_DEV_NAME: args[2]})


if __name__ == '__main__':
    try:
        main()
    except (OSError, RuntimeError) as error:
        sys.exit(f'vdpa: {error}')
