"""Which file names belong to which language: one row each, read by `languages`.

Columns: name | category | grammar (`-` none, `=` named like the language) | extensions | whole file names |
interpreters of a `#!` line | other names people filter by. Where two rows claim an extension the first one has it,
unless `languages` settles it by a look into the file. Agda, COBOL, Typst and YAML do without their grammars, which
crash or never return on deeply nested input; the markup languages of prose are read by `prose`.
"""

from __future__ import annotations

ROWS = """
python         | code   | =          | py pyi pyw py3 gyp gypi | SConstruct SConscript wscript DEPS | python \
    pypy uv | py python3
cython         | code   | python     | pyx pxd pxi |  |  | pyx
javascript     | code   | =          | js mjs cjs jsx es6 jsm | Jakefile | node nodejs bun deno | js jsx node \
    ecmascript
typescript     | code   | =          | ts mts cts |  | ts-node | ts
typescript     | code   | tsx        | tsx |  | tsx | tsx
go             | code   | =          | go |  |  | golang
rust           | code   | =          | rs |  |  | rs
java           | code   | =          | java jav |  | java |
kotlin         | code   | =          | kt kts ktm |  | kotlin | kt
scala          | code   | =          | scala sc sbt mill |  | scala |
groovy         | code   | =          | groovy gvy gradle nf | Jenkinsfile | groovy | gradle
c              | code   | =          | c h idc |  | tcc |
c++            | code   | cpp        | cpp cc cxx c++ cp hpp hh hxx h++ ipp ixx tpp tcc inl txx cppm |  |  | cpp \
    cxx cplusplus
cuda           | code   | =          | cu cuh |  |  | cu
objective-c    | code   | objc       | m mm |  |  | objc objectivec objective-c++ objcpp
c#             | code   | csharp     | cs csx cake |  |  | csharp cs dotnet
f#             | code   | fsharp     | fs fsx |  |  | fsharp fs
f#             | code   | fsharp_signature | fsi |  |  |
swift          | code   | =          | swift swiftinterface |  | swift |
dart           | code   | =          | dart |  | dart |
php            | code   | =          | php php3 php4 php5 php7 php8 phtml phps ctp |  | php |
hack           | code   | =          | hack hhi |  | hhvm |
ruby           | code   | =          | rb rbw rake gemspec ru podspec jbuilder thor rabl builder | Gemfile \
    Rakefile Podfile Vagrantfile Guardfile Capfile Fastfile Appfile Brewfile Dangerfile Berksfile Thorfile | ruby \
    jruby rake | rb
perl           | code   | =          | pl pm t perl psgi ph | cpanfile Makefile.PL Build.PL | perl | pl
lua            | code   | =          | lua rockspec nse wlua | .luacheckrc | lua luajit texlua |
luau           | code   | =          | luau |  | luau |
fennel         | code   | =          | fnl |  | fennel | fnl
r              | code   | =          | r rprofile | .Rprofile | rscript r | rscript
julia          | code   | =          | jl |  | julia | jl
matlab         | code   | =          | mlx |  |  | octave
elixir         | code   | =          | ex exs | mix.lock | elixir iex | ex
erlang         | code   | =          | erl hrl escript | rebar.config rebar.lock | escript | erl
gleam          | code   | =          | gleam |  |  |
haskell        | code   | =          | hs hs-boot hsc |  | runhaskell runghc stack | hs
purescript     | code   | =          | purs |  |  | purs
elm            | code   | =          | elm |  |  |
ocaml          | code   | =          | ml mll |  | ocaml | ml
ocaml          | code   | ocaml_interface | mli |  |  |
clojure        | code   | =          | clj cljs cljc cljx edn bb |  | clojure bb | clj clojurescript cljs
common lisp    | code   | commonlisp | lisp lsp asd |  | sbcl clisp | commonlisp lisp cl
emacs lisp     | code   | elisp      | el | .emacs Cask | emacs | elisp el
scheme         | code   | =          | scm ss sld sls sps |  | guile scheme chicken | scm
racket         | code   | =          | rkt rktd rktl scrbl |  | racket | rkt
janet          | code   | =          | janet jdn |  | janet |
bash           | code   | =          | sh bash zsh ksh ebuild eclass bats command | .bashrc .bash_profile \
    .bash_aliases .profile .zshrc .zprofile .zshenv .envrc PKGBUILD APKBUILD gradlew mvnw configure | bash sh zsh \
    dash ash ksh bats | sh shell zsh
fish           | code   | =          | fish |  | fish |
powershell     | code   | =          | ps1 psm1 psd1 |  | pwsh powershell | ps1 pwsh
batch          | code   | -          | bat cmd |  |  | bat
tcl            | code   | =          | tcl tm itcl |  | tclsh wish expect |
awk            | code   | -          | awk gawk |  | awk gawk mawk nawk |
zig            | code   | =          | zig zon |  | zig |
nim            | code   | =          | nim nims nimble |  | nim |
d              | code   | =          | d di |  | rdmd | dlang
v              | code   | =          | vv vsh | v.mod | v | vlang
odin           | code   | =          | odin |  |  |
hare           | code   | =          | ha |  |  |
crystal        | code   | -          | cr |  | crystal |
ada            | code   | =          | adb ads ada |  |  |
pascal         | code   | =          | pas dpr dpk lpr |  | instantfpc | delphi
fortran        | code   | =          | f90 f95 f03 f08 f f77 for ftn fpp |  |  |
cobol          | code   | -          | cob cbl cpy cobol |  |  |
basic          | code   | -          | bas vb vbs frm |  |  | vb visualbasic vbnet
prolog         | code   | -          | pro prolog yap |  | swipl |
pony           | code   | =          | pony |  |  |
haxe           | code   | =          | hx |  |  | hx
actionscript   | code   | =          | as |  |  | as3
apex           | code   | =          | apex trigger |  |  |
solidity       | code   | =          | sol |  |  | sol
cairo          | code   | =          | cairo |  |  |
clarity        | code   | =          | clar |  |  |
gdscript       | code   | =          | gd |  |  | godot gd
squirrel       | code   | =          | nut |  |  |
agda           | code   | -          | agda lagda |  |  |
lean           | code   | -          | lean |  |  |
coq            | code   | -          | coq |  |  |
assembly       | code   | asm        | asm s nasm a51 |  |  | asm nasm
llvm           | code   | =          | ll |  |  |
webassembly    | code   | wat        | wat wast |  |  | wat wasm
smali          | code   | =          | smali |  |  |
glsl           | code   | =          | glsl vert frag geom comp tesc tese fsh rgen rchit rmiss |  |  | shader
hlsl           | code   | =          | hlsl fx fxh hlsli cginc |  |  |
wgsl           | code   | =          | wgsl |  |  |
metal          | code   | cpp        | metal |  |  |
opencl         | code   | c          | cl |  |  |
ispc           | code   | =          | ispc isph |  |  |
arduino        | code   | =          | ino pde |  |  |
verilog        | code   | =          | v sv svh vh |  |  | systemverilog sv
vhdl           | code   | =          | vhd vhdl |  |  |
firrtl         | code   | =          | fir |  |  |
tablegen       | code   | =          | td |  |  |
uxntal         | code   | =          | tal |  |  |
magik          | code   | =          | magik |  |  |
1c             | code   | bsl        | bsl |  |  | bsl onescript
vim script     | code   | vim        | vim vimrc | .vimrc _vimrc .gvimrc vimrc |  | vim viml vimscript
coffeescript   | code   | -          | coffee litcoffee cson | Cakefile | coffee | coffee
vue            | code   | =          | vue |  |  |
svelte         | code   | =          | svelte |  |  |
astro          | code   | =          | astro |  |  |
qml            | code   | qmljs      | qml |  |  |
elixir template | markup | heex       | heex leex eex |  |  | heex eex
sql            | code   | =          | sql psql pgsql mysql ddl plsql pls pks pkb prc hql |  |  | postgres \
    postgresql mysql plpgsql tsql
sparql         | code   | =          | rq sparql |  |  |
graphql        | code   | =          | graphql gql graphqls |  |  | gql
protobuf       | code   | proto      | proto |  |  | proto protocol-buffers
thrift         | code   | =          | thrift |  |  |
capnproto      | code   | capnp      | capnp |  |  | capnp
smithy         | code   | =          | smithy |  |  |
prisma         | code   | =          | prisma |  |  |
flatbuffers    | code   | -          | fbs |  |  | fbs
terraform      | code   | =          | tf tofu |  |  | tf opentofu
hcl            | code   | =          | hcl nomad tfvars | .terraform.lock.hcl |  |
bicep          | code   | =          | bicep bicepparam |  |  |
puppet         | code   | =          | pp |  |  |
nix            | code   | =          | nix |  |  |
rego           | code   | =          | rego |  |  | opa
starlark       | code   | =          | bzl star bazel sky | BUILD WORKSPACE Tiltfile BUCK |  | bazel bzl
jsonnet        | code   | =          | jsonnet libsonnet |  |  |
cmake          | code   | =          | cmake | CMakeLists.txt |  |
meson          | code   | =          |  | meson.build meson_options.txt meson.options |  |
make           | code   | =          | mk mak make | Makefile makefile GNUmakefile Kbuild BSDmakefile | make | \
    makefile
ninja          | code   | =          | ninja |  |  |
gn             | code   | =          | gn gni |  |  |
just           | code   | -          | just | justfile Justfile .justfile |  | justfile
bitbake        | code   | =          | bbappend bbclass |  |  |
dockerfile     | code   | =          | dockerfile containerfile | Dockerfile Containerfile |  | docker
kconfig        | config | =          |  | Kconfig |  |
linker script  | code   | linkerscript | ld lds |  |  | linkerscript
html           | markup | =          | html htm xhtml shtml |  |  | htm
xml            | markup | =          | xml xsd xsl xslt svg plist xaml csproj vbproj fsproj vcxproj props \
    targets nuspec resx wsdl rss atom pom jelly iml storyboard xib ui qrc |  |  | xsd xslt svg
css            | code   | =          | css pcss postcss |  |  |
scss           | code   | =          | scss |  |  |
less           | code   | -          | less |  |  |
sass           | code   | -          | sass |  |  |
stylus         | code   | -          | styl |  |  |
twig           | markup | =          | twig |  |  |
jinja          | markup | -          | j2 jinja jinja2 njk |  |  | jinja2 nunjucks
handlebars     | markup | -          | hbs handlebars mustache |  |  | mustache hbs
liquid         | markup | -          | liquid |  |  |
pug            | markup | -          | pug jade |  |  |
haml           | markup | -          | haml |  |  |
slim           | markup | -          | slim |  |  |
erb            | markup | -          | erb rhtml |  |  |
ejs            | markup | -          | ejs |  |  |
templ          | markup | -          | templ gotmpl gohtml tmpl tpl |  |  |
markdown       | prose  | -          | md markdown mkd mkdn mdown mdx mdc qmd rmd livemd |  |  | md mdx
restructuredtext | prose  | -          | rst rest |  |  | rst
asciidoc       | prose  | -          | adoc asciidoc |  |  | adoc
org            | prose  | -          | org |  |  |
latex          | prose  | =          | tex ltx sty cls dtx |  |  | tex
bibtex         | config | =          | bib |  |  | bib
typst          | prose  | -          | typ |  |  |
texinfo        | prose  | -          | texi texinfo |  |  |
mermaid        | prose  | =          | mmd mermaid |  |  |
text           | prose  | -          | txt text nfo |  |  | plain plaintext txt
json           | config | =          | json jsonc json5 jsonl ndjson geojson webmanifest avsc code-workspace har \
    ipynb jsonld | .babelrc .eslintrc .prettierrc .jshintrc .swcrc composer.lock Pipfile.lock flake.lock \
    .watchmanconfig |  | jsonc json5 jupyter
yaml           | config | -          | yaml yml sublime-syntax syntax | .clang-format .clang-tidy .clangd \
    CITATION.cff .yamllint |  | yml
toml           | config | =          | toml | Cargo.lock poetry.lock uv.lock pdm.lock Pipfile Gopkg.lock |  |
ini            | config | =          | ini cfg desktop service timer socket mount gitconfig | .gitconfig \
    .editorconfig .npmrc .pylintrc .flake8 .coveragerc pylintrc |  | cfg editorconfig
ini            | config | -          | conf cnf |  |  |
properties     | config | =          | properties |  |  |
kdl            | config | =          | kdl |  |  |
ron            | config | =          | ron |  |  |
gomod          | config | =          |  | go.mod go.work |  | go.mod
gosum          | config | -          |  | go.sum go.work.sum |  |
requirements   | config | =          |  | requirements.txt constraints.txt requirements-dev.txt \
    dev-requirements.txt requirements.in |  | pip
gitignore      | config | =          | gitignore | .gitignore .dockerignore .npmignore .mcpignore .eslintignore \
    .prettierignore .helmignore .gcloudignore .hgignore .rgignore .ignore |  |
gitattributes  | config | =          |  | .gitattributes |  |
gettext        | config | po         | po pot |  |  | po
udev           | config | =          |  |  |  |
csv            | config | -          | csv tsv psv |  |  | tsv
pem            | config | -          | pem crt csr |  |  |
dtd            | config | =          | dtd |  |  |
beancount      | config | =          | beancount |  |  |
hyprlang       | config | =          |  | hyprland.conf |  |
xcompose       | config | =          |  | .XCompose |  |
yuck           | code   | =          | yuck |  |  |
mlir           | code   | -          | mlir |  |  |
dts            | code   | -          | dts dtsi |  |  | devicetree
diff           | prose  | -          | diff patch |  |  | patch
"""
