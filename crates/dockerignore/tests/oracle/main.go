// Lists the files that BuildKit keeps of source trees under ignore files: the oracle of tests/it/oracle.rs.
//
// Standard input holds one JSON object a line, {"files": [...], "dockerignore": "..."}; standard output has one line
// for each, {"kept": [...]} or {"error": "..."}, and what Go said about itself in the first. The packages ignorefile
// and patternmatcher are those of a checkout of github.com/moby/patternmatcher; the walk below does what
// github.com/tonistiigi/fsutil, filter.go, does with them.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

type question struct {
	Files        []string `json:"files"`
	Dockerignore string   `json:"dockerignore"`
}

type answer struct {
	Kept  []string `json:"kept"`
	Error string   `json:"error,omitempty"`
}

type node struct {
	path     string
	children map[string]*node
}

func main() {
	fmt.Printf("{\"go\": %q}\n", runtime.Version())
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<26)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		kept, err := keep(asked)
		told := answer{Kept: kept}
		if err != nil {
			told = answer{Error: err.Error()}
		}
		if err := out.Encode(told); err != nil {
			panic(err)
		}
	}
}

func keep(asked question) (kept []string, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	lines, err := ignorefile.ReadAll(strings.NewReader(asked.Dockerignore))
	if err != nil {
		return nil, err
	}
	kept = []string{}
	tree := plant(asked.Files)
	if len(lines) == 0 {
		return append(kept, asked.Files...), nil
	}
	matcher, err := patternmatcher.New(lines)
	if err != nil {
		return nil, err
	}
	walk := walker{matcher: matcher, onlyPrefixes: true}
	for _, pattern := range matcher.Patterns() {
		if pattern.Exclusion() && strings.ContainsAny(beforeGlob(pattern), `*[]?^\`) {
			walk.onlyPrefixes = false
		}
	}
	err = walk.below(tree, patternmatcher.MatchInfo{}, &kept)
	sort.Strings(kept)
	return kept, err
}

func plant(files []string) *node {
	root := &node{children: map[string]*node{}}
	for _, file := range files {
		at := root
		for _, name := range strings.Split(file, "/") {
			if at.children == nil {
				at.children = map[string]*node{}
			}
			if at.children[name] == nil {
				path := name
				if at != root {
					path = at.path + "/" + name
				}
				at.children[name] = &node{path: path}
			}
			at = at.children[name]
		}
	}
	return root
}

type walker struct {
	matcher *patternmatcher.PatternMatcher
	// Every line with `!` is a plain path, perhaps with a glob as its last part.
	onlyPrefixes bool
}

func (w walker) below(directory *node, above patternmatcher.MatchInfo, kept *[]string) error {
	names := make([]string, 0, len(directory.children))
	for name := range directory.children {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		at := directory.children[name]
		matches, info, err := w.matcher.MatchesUsingParentResults(at.path, above)
		if err != nil {
			return err
		}
		if at.children == nil {
			if !matches {
				*kept = append(*kept, at.path)
			}
			continue
		}
		if matches && w.mayPrune(at.path+"/") {
			continue
		}
		if err := w.below(at, info, kept); err != nil {
			return err
		}
	}
	return nil
}

func (w walker) mayPrune(directory string) bool {
	if !w.onlyPrefixes {
		return false
	}
	for _, pattern := range w.matcher.Patterns() {
		if pattern.Exclusion() && strings.HasPrefix(beforeGlob(pattern)+"/", directory) {
			return false
		}
	}
	return true
}

func beforeGlob(pattern *patternmatcher.Pattern) string {
	return strings.TrimSuffix(strings.TrimSuffix(pattern.String(), "/**"), "/*")
}
