#!/usr/bin/env bash
# Usage: pgheaders.sh TARGET MAJOR
# Makes below TARGET the headers that an extension of PostgreSQL's server is built
# with: those of Debian's package, unpacked and not installed, unless the system has
# them. Without it nothing is made: the test that builds one then does not run.
. "$(dirname "$0")/debian.sh"
look_for "pgheaders-$2" "postgresql-server-dev-$2" "$1/usr/include/postgresql/$2"
[ -d "/usr/include/postgresql/$2/server" ] && exit 0
download "postgresql-server-dev-$2"
dpkg-deb --fsys-tarfile postgresql-server-dev-*.deb | tar -x -C "$1" ./usr/include
