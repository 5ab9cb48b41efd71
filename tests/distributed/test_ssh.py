#!/usr/bin/python3
# Zoned images over SSH.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import sys

sys.dont_write_bytecode = True

import remote
from remote import Ssh, kill_server, nothing
import tap


class Killed(remote.Case):
    """Everything acknowledged is there, and no write pointer lies"""
    PREFIX = 'ssh: '

    def ssh(self):
        self.need(remote.missing(*Ssh.PROGRAMS) or remote.no_driver('ssh'))
        return self.storage(Ssh)

    def test_client(self):
        """the client is killed"""
        self.rounds(self.ssh(), nothing)

    def test_server(self):
        """the server is killed, and the client gets errors"""
        self.rounds(self.ssh(), kill_server)


if __name__ == '__main__':
    remote.isolate()
    tap.main()
