# 0: removed, and not replaced by another release.
if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then
    systemctl --no-reload disable --now twitcher.service || :
fi
