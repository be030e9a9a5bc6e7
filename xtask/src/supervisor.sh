# Runs one server for an owner that gives its orders on standard input. When the owner closes that pipe, or dies
# in whatever way, the server is stopped and its folder removed.
#
# Arguments: the folder, the log file, the signal that stops the server, the server's command line.
# Orders:    `start` runs the server and answers with its process id;
#            `reap` waits for a server that is ending and answers with its exit status.

# Handled rather than ignored, as ignored signals would be inherited by the server. A signal ends `read`, and
# with it the loop; a vanished reader of an answer must not end this shell before it has cleaned up.
trap : HUP INT TERM PIPE

folder=$1
log=$2
signal=$3
shift 3
server=

while read -r order; do
    case $order in
    start)
        "$@" </dev/null >>"$log" 2>&1 &
        server=$!
        echo "$server"
        ;;
    reap)
        wait "$server"
        status=$?
        server=
        echo "$status"
        ;;
    esac
done

if [ -n "$server" ]; then
    kill -s "$signal" "$server" 2>/dev/null
    kill -s CONT "$server" 2>/dev/null
    wait "$server"
fi

# A PostgreSQL that was killed and not started again has left a segment of shared memory behind, which lives
# in the kernel. Line 7 of its lock file names it: key, then id.
if [ -f "$folder/data/postmaster.pid" ]; then
    # shellcheck disable=SC2046 # the two words are wanted
    set -- $(sed -n 7p "$folder/data/postmaster.pid")
    [ -z "$2" ] || ipcrm -m "$2" 2>/dev/null
fi

cd / && rm -rf "$folder"
