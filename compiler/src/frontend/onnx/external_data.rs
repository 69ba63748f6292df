//! Weights that a model keeps in files beside it, as models beyond 2 GiB must: loads them into the messages.
//!
//! After this step a model is the same as if it had been saved in one file, and no later stage needs to know
//! the difference. A model file is not trusted: it names files, offsets and lengths, so a path may not leave
//! the model's folder (by `..`, as an absolute path or through a symbolic link) and must be a regular file, and
//! a length is compared with dims, data type and the file's size before memory is allocated. A `checksum` key
//! is ignored.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use thiserror::Error;

use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, ProtoError, SparseTensorProto, TensorProto,
};

/// Why external data cannot be loaded. The fault of the model, or of files that did not travel with it.
#[derive(Debug, Error)]
pub enum ExternalDataError {
    /// Data type or dims do not tell how many bytes the tensor has.
    #[error(transparent)]
    Tensor(#[from] ProtoError),
    /// A key of `external_data` is missing or is not what it must be.
    #[error("tensor `{tensor}`: external data key `{key}` is {found}")]
    BadKey {
        /// The tensor's name.
        tensor: String,
        /// `location`, `offset` or `length`.
        key: &'static str,
        /// `missing`, or the value.
        found: String,
    },
    /// The location is absolute, has a `..`, or leads out of the folder through a symbolic link.
    #[error("tensor `{tensor}`: external data file `{location}` is outside the model's folder")]
    OutsideFolder {
        /// The tensor's name.
        tensor: String,
        /// The location as the model gives it.
        location: String,
    },
    /// `length` differs from what dims and data type ask for.
    #[error(
        "tensor `{tensor}`: dims {dims:?} need {expected} bytes, but `length` of the external data is {found}"
    )]
    WrongLength {
        /// The tensor's name.
        tensor: String,
        /// The tensor's dims.
        dims: Vec<i64>,
        /// Bytes that dims and data type ask for.
        expected: u64,
        /// The value of `length`.
        found: u64,
    },
    /// The file ends before the tensor does.
    #[error(
        "tensor `{tensor}`: external data file `{location}` has {file_bytes} bytes, \
         too few for {n_bytes} from offset {offset}"
    )]
    FileTooShort {
        /// The tensor's name.
        tensor: String,
        /// The location as the model gives it.
        location: String,
        /// Size of the file.
        file_bytes: u64,
        /// Where the tensor begins.
        offset: u64,
        /// How many bytes the tensor has.
        n_bytes: u64,
    },
    /// The file cannot be opened or read.
    #[error("tensor `{tensor}`: cannot read external data file `{location}`")]
    Io {
        /// The tensor's name.
        tensor: String,
        /// The location as the model gives it.
        location: String,
        /// What the operating system says.
        source: io::Error,
    },
}

/// Loads every tensor with external data into its `raw_data`: initializers, dense and sparse, and node
/// attributes, in the graph, its subgraphs, functions and training graphs. `base_dir` is the folder of the model file.
///
/// # Errors
/// The first tensor whose data is not to be had; the tensors before it are then loaded already.
pub fn resolve_external(model: &mut ModelProto, base_dir: &Path) -> Result<(), ExternalDataError> {
    let mut loader = Loader::new(base_dir);
    let mut tensors = tensors(model).into_iter();
    tensors.try_for_each(|tensor| loader.load(tensor))
}

/// The locations of all external data, as the model gives them, each once. Tensors with bad keys are left out.
pub fn external_locations(model: &mut ModelProto) -> BTreeSet<String> {
    let external = tensors(model).into_iter().filter(|t| t.is_external());
    external
        .filter_map(|tensor| Some(Place::of(tensor).ok()?.location))
        .collect()
}

/// All tensors that may have external data.
fn tensors(model: &mut ModelProto) -> Vec<&mut TensorProto> {
    let mut found = Vec::new();
    if let Some(graph) = &mut model.graph {
        add_graph(graph, &mut found);
    }
    for function in &mut model.functions {
        add_nodes(&mut function.node, &mut found);
        add_attributes(&mut function.attribute_proto, &mut found);
    }
    for training in &mut model.training_info {
        let graphs = [&mut training.initialization, &mut training.algorithm];
        for graph in graphs.into_iter().flatten() {
            add_graph(graph, &mut found);
        }
    }
    found
}

fn add_graph<'a>(graph: &'a mut GraphProto, found: &mut Vec<&'a mut TensorProto>) {
    found.extend(&mut graph.initializer);
    for tensor in &mut graph.sparse_initializer {
        add_sparse(tensor, found);
    }
    add_nodes(&mut graph.node, found);
}

fn add_nodes<'a>(nodes: &'a mut [NodeProto], found: &mut Vec<&'a mut TensorProto>) {
    for node in nodes {
        add_attributes(&mut node.attribute, found);
    }
}

fn add_attributes<'a>(attributes: &'a mut [AttributeProto], found: &mut Vec<&'a mut TensorProto>) {
    for attribute in attributes {
        found.extend(attribute.t.as_deref_mut());
        found.extend(&mut attribute.tensors);
        let sparse = attribute.sparse_tensor.as_deref_mut().into_iter();
        for tensor in sparse.chain(&mut attribute.sparse_tensors) {
            add_sparse(tensor, found);
        }
        let graph = attribute.g.as_deref_mut().into_iter();
        for graph in graph.chain(&mut attribute.graphs) {
            add_graph(graph, found);
        }
    }
}

fn add_sparse<'a>(tensor: &'a mut SparseTensorProto, found: &mut Vec<&'a mut TensorProto>) {
    let parts = [&mut tensor.values, &mut tensor.indices];
    found.extend(parts.into_iter().flatten());
}

/// Keeps files open, since one file usually holds all tensors.
struct Loader {
    base_dir: PathBuf,
    files: HashMap<String, OpenFile>,
}

struct OpenFile {
    file: File,
    n_bytes: u64,
}

/// The keys of `TensorProto.external_data`.
struct Place {
    location: String,
    offset: u64,
    length: Option<u64>,
}

impl Loader {
    fn new(base_dir: &Path) -> Loader {
        // The parent of a bare file name is the empty path, which no file function takes.
        let is_bare = base_dir.as_os_str().is_empty();
        Loader {
            base_dir: if is_bare {
                PathBuf::from(".")
            } else {
                base_dir.to_path_buf()
            },
            files: HashMap::new(),
        }
    }

    fn load(&mut self, tensor: &mut TensorProto) -> Result<(), ExternalDataError> {
        if !tensor.is_external() {
            return Ok(());
        }
        let name = tensor.name().to_string();
        let place = Place::of(tensor)?;
        let expected_bytes = tensor.n_raw_bytes()?;
        let n_bytes = expected_bytes as u64;
        if let Some(found) = place.length.filter(|&length| length != n_bytes) {
            return Err(ExternalDataError::WrongLength {
                tensor: name,
                dims: tensor.dims.clone(),
                expected: n_bytes,
                found,
            });
        }

        let io_error = |source| ExternalDataError::Io {
            tensor: name.clone(),
            location: place.location.clone(),
            source,
        };
        let data = self.open(&name, &place.location)?;
        let end = place.offset.checked_add(n_bytes);
        if end.is_none_or(|end| end > data.n_bytes) {
            return Err(ExternalDataError::FileTooShort {
                tensor: name.clone(),
                location: place.location.clone(),
                file_bytes: data.n_bytes,
                offset: place.offset,
                n_bytes,
            });
        }
        data.file
            .seek(SeekFrom::Start(place.offset))
            .map_err(io_error)?;
        let mut raw_data = vec![0; expected_bytes];
        data.file.read_exact(&mut raw_data).map_err(io_error)?;

        tensor.raw_data = Some(raw_data);
        tensor.external_data.clear();
        tensor.data_location = None;
        Ok(())
    }

    fn open(&mut self, tensor: &str, location: &str) -> Result<&mut OpenFile, ExternalDataError> {
        if !self.files.contains_key(location) {
            let path = self.path_inside(tensor, location)?;
            let opened = open_regular(&path).map_err(|source| ExternalDataError::Io {
                tensor: tensor.to_string(),
                location: location.to_string(),
                source,
            })?;
            self.files.insert(location.to_string(), opened);
        }
        Ok(self
            .files
            .get_mut(location)
            .expect("inserted above when it was missing"))
    }

    /// The real path of a location, once it is known to lie in the model's folder.
    fn path_inside(&self, tensor: &str, location: &str) -> Result<PathBuf, ExternalDataError> {
        let outside = || ExternalDataError::OutsideFolder {
            tensor: tensor.to_string(),
            location: location.to_string(),
        };
        let is_plain = |component| matches!(component, Component::Normal(_) | Component::CurDir);
        if !Path::new(location).components().all(is_plain) {
            return Err(outside());
        }
        // Only the file system knows where symbolic links lead.
        let real_path = |path: &Path| {
            path.canonicalize().map_err(|source| ExternalDataError::Io {
                tensor: tensor.to_string(),
                location: location.to_string(),
                source,
            })
        };
        let base_dir = real_path(&self.base_dir)?;
        let path = real_path(&self.base_dir.join(location))?;
        if path.starts_with(&base_dir) {
            Ok(path)
        } else {
            Err(outside())
        }
    }
}

impl Place {
    fn of(tensor: &TensorProto) -> Result<Place, ExternalDataError> {
        let bad_key = |key, found: &str| ExternalDataError::BadKey {
            tensor: tensor.name().to_string(),
            key,
            found: found.to_string(),
        };
        // Of a repeated key the last one counts, as in protobuf itself.
        let value = |key| {
            let entry = tensor
                .external_data
                .iter()
                .rev()
                .find(|entry| entry.key() == key)?;
            Some(entry.value())
        };
        let number = |key| match value(key) {
            None => Ok(None),
            Some(text) => match text.parse::<u64>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(bad_key(key, &format!("`{text}`, not a number of bytes"))),
            },
        };
        let location = value("location").unwrap_or_default();
        if location.is_empty() {
            return Err(bad_key("location", "missing"));
        }
        Ok(Place {
            location: location.to_string(),
            offset: number("offset")?.unwrap_or(0),
            length: number("length")?,
        })
    }
}

/// Opens a regular file. A pipe would block for ever, and neither it nor a device has a size to check against.
fn open_regular(path: &Path) -> io::Result<OpenFile> {
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    Ok(OpenFile {
        file: File::open(path)?,
        n_bytes: metadata.len(),
    })
}
