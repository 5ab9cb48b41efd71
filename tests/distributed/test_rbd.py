#!/usr/bin/python3
# Zoned images in RBD, of a Ceph cluster of one node.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import sys

sys.dont_write_bytecode = True

import remote
from remote import Rbd, nothing, restart_server
import tap


class Killed(remote.Case):
    """Everything acknowledged is there, and no write pointer lies"""
    PREFIX = 'rbd: '
    ROUNDS, QUICK_ROUNDS = 4, 2     # each waits for the lock of a dead client

    def rbd(self):
        self.need(remote.missing(*Rbd.PROGRAMS) or remote.no_driver('rbd'))
        return Rbd(self.scratch / 'server')

    def test_client(self):
        """the client is killed"""
        self.rounds(self.rbd(), nothing)

    def test_client_no_cache(self):
        """the client is killed, without a cache of its own"""
        self.rounds(self.rbd(), nothing, cache={'direct': True})

    def test_osd(self):
        """the OSD is killed and started, the client waits for it"""
        self.rounds(self.rbd(), restart_server)


if __name__ == '__main__':
    remote.isolate()
    tap.main()
