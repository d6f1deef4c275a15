// Audits a trail with Go's own transparency log tools, which know nothing of ours.
//
//	audit FOLDER KEY     reads FOLDER/checkpoint, FOLDER/old (an older checkpoint or empty),
//	                     FOLDER/entries (one file an entry, by index), FOLDER/proofs, FOLDER/tile
//
// Proofs are lines of base64 hashes: FOLDER/proofs/record-INDEX and FOLDER/proofs/tree.
package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// c2sp names tiles tile/LEVEL/N; Go's older layout has the height, 8, before the level.
type reader struct{ folder string }

func (r reader) Height() int { return 8 }

func (r reader) SaveTiles([]tlog.Tile, [][]byte) {}

func (r reader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range tiles {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(r.folder, path))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func require(err error, what string) {
	if err != nil {
		fmt.Printf("%s: %v\n", what, err)
		os.Exit(1)
	}
}

func open(path string, verifiers note.Verifiers) (int64, tlog.Hash) {
	raw, err := os.ReadFile(path)
	require(err, "checkpoint")
	opened, err := note.Open(raw, verifiers)
	require(err, "signature")
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	require(err, "size")
	root, err := tlog.ParseHash(lines[2])
	require(err, "root")
	return size, root
}

func proof(path string) []tlog.Hash {
	raw, err := os.ReadFile(path)
	require(err, "proof")
	var found []tlog.Hash
	for _, line := range strings.Fields(string(raw)) {
		decoded, err := base64.StdEncoding.DecodeString(line)
		require(err, "proof")
		var hash tlog.Hash
		copy(hash[:], decoded)
		found = append(found, hash)
	}
	return found
}

// rebuild makes the whole tree anew from the entries' bundles, and compares it with the tiles of
// level 0 and with the root. TileHashReader of golang.org/x/mod 0.7.0 does not check every full
// tile that it reads against its parent, so the tiles need this as well.
func rebuild(folder string, size int64, root tlog.Hash) {
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var found []tlog.Hash
		for _, index := range indexes {
			found = append(found, stored[index])
		}
		return found, nil
	})
	for first := int64(0); first < size; first += 256 {
		width := size - first
		if width > 256 {
			width = 256
		}
		tile := tlog.Tile{H: 8, L: 0, N: first / 256, W: int(width)}
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		hashes, err := os.ReadFile(filepath.Join(folder, path))
		require(err, "tiles")
		bundle, err := os.ReadFile(filepath.Join(folder, strings.Replace(path, "/0/", "/entries/", 1)))
		require(err, "bundle")
		for index := int64(0); index < width; index++ {
			length := int(bundle[0])<<8 | int(bundle[1])
			leaf := tlog.RecordHash(bundle[2 : 2+length])
			bundle = bundle[2+length:]
			if string(leaf[:]) != string(hashes[index*32:index*32+32]) {
				require(fmt.Errorf("entry %d has another hash in the tile", first+index), "tiles")
			}
			more, err := tlog.StoredHashesForRecordHash(first+index, leaf, read)
			require(err, "tree")
			stored = append(stored, more...)
		}
	}
	found, err := tlog.TreeHash(size, read)
	require(err, "tree")
	if found != root {
		require(fmt.Errorf("the entries have the root %v, the checkpoint %v", found, root), "root")
	}
}

func main() {
	folder := os.Args[1]
	verifier, err := note.NewVerifier(os.Args[2])
	require(err, "key")
	verifiers := note.VerifierList(verifier)
	size, root := open(filepath.Join(folder, "checkpoint"), verifiers)

	names, err := filepath.Glob(filepath.Join(folder, "proofs", "record-*"))
	require(err, "proofs")
	hashes := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, reader{folder})
	for _, name := range names {
		index, err := strconv.ParseInt(name[strings.LastIndex(name, "-")+1:], 10, 64)
		require(err, "index")
		entry, err := os.ReadFile(filepath.Join(folder, "entries", strconv.FormatInt(index, 10)))
		require(err, "entry")
		leaf := tlog.RecordHash(entry)
		require(tlog.CheckRecord(proof(name), size, root, index, leaf), "record")
		stored, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
		require(err, "tiles")
		if stored[0] != leaf {
			require(fmt.Errorf("the tile has another hash for entry %d", index), "tiles")
		}
	}
	old := filepath.Join(folder, "old")
	if _, err := os.Stat(old); err == nil {
		oldSize, oldRoot := open(old, verifiers)
		tree := proof(filepath.Join(folder, "proofs", "tree"))
		require(tlog.CheckTree(tree, size, root, oldSize, oldRoot), "tree")
	}
	rebuild(folder, size, root)
	fmt.Printf("%d entries, %d proofs: all hold\n", size, len(names))
}
