#!/bin/sh
# Unpacks cosign 2.5, skopeo 1.18, podman 5.4 and oras 1.2 of Debian trixie below a directory, without
# installing anything: trixie.sh DIRECTORY. Tests find them by PKGBASE_OCI_TRIXIE=DIRECTORY.
# Debian 12 has no cosign and no oras, and its skopeo and podman are built without sigstore.
set -eu
umask 022
folder=$(mkdir -p "$1" && cd "$1" && pwd)
test ! -x "$folder/usr/bin/podman" || exit 0

# the archive that this system uses already
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' | sort -u | head -n 1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/etc/sources.list.d" "$work/etc/preferences.d" "$work/etc/apt.conf.d" \
  "$work/etc/trusted.gpg.d" "$work/state/lists/partial" "$work/cache/archives/partial" "$work/packages"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive trixie main" \
  > "$work/etc/sources.list"
: > "$work/state/status"
cat > "$work/apt.conf" << END
Dir::Etc "$work/etc";
Dir::State "$work/state";
Dir::State::status "$work/state/status";
Dir::Cache "$work/cache";
APT::Sandbox::User "root";
END
export APT_CONFIG="$work/apt.conf"
apt-get update -qq

cd "$work/packages"
apt-get download -qq cosign oras skopeo podman libc6 libgpgme11t64 libassuan9 libgpg-error0 \
  libsqlite3-0 libsubid5 libbsd0 libmd0
for package in *.deb; do
  dpkg -x "$package" "$work/root"
done
cp -a "$work/root/." "$folder/"
