"""An SMTP server (RFC 5321, as much as `smtplib` speaks): keeps each mail as a JSON line of the file that it is given.

`python smtp_server.py PORT_FILE MAILS` is a process of its own; with AUTH PLAIN and LOGIN any password will do, and is
kept beside the mail.
"""

from __future__ import annotations

import base64
import json
import socketserver
import sys
from pathlib import Path


class Session(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self) -> None:
        self._sender, self._to, self._login = "", [], ""
        self._say("220 fake ESMTP")
        while line := self.rfile.readline().decode().strip():
            verb, _, rest = line.partition(" ")
            if not self._answer(verb.upper(), rest):
                return

    def _answer(self, verb: str, rest: str) -> bool:
        match verb:
            case "EHLO":
                self._say("250-fake\r\n250-AUTH PLAIN LOGIN\r\n250 8BITMIME")
            case "AUTH":
                mechanism, _, secret = rest.partition(" ")
                self._login = base64.b64decode(secret).decode().replace("\0", ":").lstrip(":")
                assert mechanism == "PLAIN"
                self._say("235 yes")
            case "MAIL":
                self._sender = rest.partition("<")[2].partition(">")[0]
                self._say("250 ok")
            case "RCPT":
                self._to.append(rest.partition("<")[2].partition(">")[0])
                self._say("250 ok")
            case "DATA":
                self._say("354 go on")
                self._keep()
                self._say("250 kept")
            case "RSET" | "NOOP":
                self._say("250 ok")
            case "QUIT":
                self._say("221 bye")
                return False
            case _:
                self._say("502 not here")
        return True

    def _keep(self) -> None:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        mail = {"from": self._sender, "to": self._to, "login": self._login, "content": b"".join(lines).decode()}
        with Path(sys.argv[2]).open("a") as file:
            file.write(json.dumps(mail) + "\n")

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


def main() -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session) as server:
        Path(sys.argv[1]).write_text(str(server.server_address[1]))
        server.serve_forever()


if __name__ == "__main__":
    main()
