//! The recipes of the selected processes, resolved under all settings, and the names of their images.

use super::{BuildError, Builder, ProcessSelection, TagForm};
use crate::recipe::{Recipe, Target, WEB};
use crate::reference::Name;
use crate::settings::Settings;

impl Builder {
    /// Returns the name of the image.
    pub fn image_name(&self) -> Result<Name, BuildError> {
        let recipe = self.resolve()?;
        Ok(Name::new(self.repository(&recipe), self.tag(&recipe))?)
    }

    pub(super) fn repository(&self, recipe: &Recipe) -> String {
        recipe.name.clone().unwrap_or_else(|| self.project.image_name())
    }

    pub(super) fn tag(&self, recipe: &Recipe) -> String {
        match self.tag_form {
            TagForm::OfTarget => format!("{}{}", recipe.tag, recipe.tag_suffix()),
            // The images of several processes never have one tag.
            TagForm::Exact => format!("{}{}", recipe.tag, recipe.process_suffix()),
        }
    }

    /// Resolves the target's recipe under all settings, for the first process.
    pub fn resolve(&self) -> Result<Recipe, BuildError> {
        let (recipe, _) = self.resolve_all()?;
        Ok(recipe)
    }

    /// Returns the names of the selected processes, `web` first. Their images are those of
    /// [`Self::build_processes`], in this order.
    ///
    /// # Errors
    /// Fails if the settings are invalid or do not define a selected process.
    pub fn process_names(&self) -> Result<Vec<String>, BuildError> {
        self.selected(&self.resolve_with(Settings::default(), &self.flags)?)
    }

    fn selected(&self, unnamed: &Recipe) -> Result<Vec<String>, BuildError> {
        let known = unnamed.process_names();
        Ok(match &self.processes {
            ProcessSelection::Web => vec![WEB.to_owned()],
            ProcessSelection::All => known,
            ProcessSelection::Named(names) => {
                for name in names {
                    unnamed.settings_of_process(name)?;
                }
                known.into_iter().filter(|known| names.contains(known)).collect()
            }
        })
    }

    /// Resolves the recipes of all selected processes: the first and the others.
    pub(super) fn resolve_all(&self) -> Result<(Recipe, Vec<Recipe>), BuildError> {
        // Processes may be defined at any level of the settings.
        let unnamed = self.resolve_with(Settings::default(), &self.flags)?;
        let web = match unnamed.settings_of_process(WEB)? {
            settings if settings == Settings::default() => unnamed.clone(),
            settings => self.resolve_with(settings, &self.flags)?,
        };
        let names = self.selected(&unnamed)?;
        // Of several processes, flags about a server concern `web`.
        let mut flags = self.flags.clone();
        if names.len() > 1 {
            (flags.entrypoint, flags.cmd, flags.healthcheck, flags.port) = (None, None, None, None);
        }
        let mut recipes = Vec::new();
        for name in names {
            if name == WEB {
                recipes.push(web.clone());
                continue;
            }
            let mut recipe = self.resolve_with(unnamed.settings_of_process(&name)?, &flags)?;
            recipe.process = Some(name);
            recipe.compiled_for.clone_from(&web.compiled_for);
            recipes.push(recipe);
        }
        let mut recipes = recipes.into_iter();
        let first = recipes.next().unwrap_or(web);
        Ok((first, recipes.collect()))
    }

    /// Resolves the target's recipe under all settings. `process` has precedence over all but `flags`.
    fn resolve_with(&self, process: Settings, flags: &Settings) -> Result<Recipe, BuildError> {
        let mut project = self.project.settings.clone();
        let own = project.target.remove(self.target.as_str()).unwrap_or_default();
        if let Some(wrong) = project.target.keys().find(|name| name.parse::<Target>().is_err()) {
            return Err(wrong.parse::<Target>().map(|_| ()).unwrap_err().into());
        }
        Recipe::refuse_misplaced(&self.root.join("pyproject.toml"), &self.project.settings)?;
        if self.target != Target::Runtime {
            // The project's budget is meant for production; the other images are larger by nature.
            project.max_size = None;
        }
        let below = own.recipe.as_ref().or(project.recipe.as_ref()).map(|name| self.root.join(name));
        let project = own.over(project);
        let flags = flags.clone().over(process);
        Ok(match &self.recipe {
            Some(file) => Recipe::resolve_named(self.target, file, flags, project)?,
            None => Recipe::resolve(self.target, below.as_deref(), flags.over(project))?,
        })
    }
}
