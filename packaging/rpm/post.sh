# Empty, and so not in the package itself.
[ -d /etc/twitcher.d ] || install -d -m 755 /etc/twitcher.d
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
fi
